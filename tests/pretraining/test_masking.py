"""What is hidden, how much, from whom, and that nothing of it reaches an encoder."""

import pytest
import torch
from mmdet3d.registry import MODELS

from tests.pretraining.masks import CELLS, NOW, STRATEGIES, records
from turbotrain.models import DensePillarEncoder, SparsePillarEncoder
from turbotrain.pretraining import (
    BEVCellCoMasking,
    BEVCellMasking,
    CloudLayout,
)

RANGE = [-8.0, -4.0, -3.0, 8.0, 4.0, 1.0]


def layout_of(*sizes: int, **kwargs) -> CloudLayout:
    return CloudLayout.of_agents(records(*sizes, **kwargs), torch.device('cpu'))


def clouds(layout: CloudLayout, points: int = 300, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([8.0, 4.0, 1.0, 0.5])
    count = len(layout.sample)
    return [(torch.rand(points, 4, generator=generator) * 2 - 1) * scale for _ in range(count)]


def build(config: dict) -> torch.nn.Module:
    return MODELS.build(dict(point_cloud_range=RANGE, **config))


def hide(masking, given, layout, seed=5):
    torch.manual_seed(seed)
    return masking(given, layout)


def cells_of(points: torch.Tensor, size: float = 0.8) -> torch.Tensor:
    column, row = ((points[:, :2] - torch.tensor(RANGE[:2])) / size).floor().long().T
    return row * 1000 + column


@pytest.mark.parametrize('ratio', [0.0, 0.5, 0.7, 0.99, 1.0])
@pytest.mark.parametrize('kind', [BEVCellMasking, BEVCellCoMasking])
def test_hides_whole_cells_and_that_share_of_them(kind, ratio):
    layout = layout_of(4, 1)
    given = clouds(layout, 500)
    masked = hide(kind(RANGE, ratio, cell_size=0.8), given, layout)
    taken = total = 0
    for cloud, left, mask in zip(given, masked.visible, masked.hidden, strict=True):
        torch.testing.assert_close(left, cloud[~mask])
        cells = cells_of(cloud)
        gone = cells[mask].unique()
        assert not torch.isin(cells[~mask], gone).any()
        taken, total = taken + len(gone), total + len(cells.unique())
    # 15 clouds of 200 cells; three standard deviations where all are drawn apart, and co-masking
    # draws 400.
    spread = 3 * (ratio * (1 - ratio) / (400 if kind is BEVCellCoMasking else total)) ** 0.5
    assert abs(taken / total - ratio) <= spread


def test_the_border_takes_the_fate_of_the_next_cell_and_cells_need_not_divide_the_range():
    masking = BEVCellMasking(RANGE, 0.5, cell_size=3.0)
    assert (masking.rows, masking.columns) == (3, 6)
    far = torch.tensor([[100.0, 100, 0, 0], [7.9, 3.9, 0, 0], [-90.0, 0, 0, 0], [-7.9, 0, 0, 0]])
    for seed in range(8):
        (hidden,) = hide(masking, [far], None, seed).hidden
        assert hidden[0] == hidden[1] and hidden[2] == hidden[3]


def test_cells_of_any_size():
    for size in (0.05, 0.4, 1.6, 20.0):
        layout = layout_of(4)
        masked = hide(BEVCellMasking(RANGE, 0.7, size), clouds(layout, 400), layout)
        for cloud, hidden in zip(clouds(layout, 400), masked.hidden, strict=True):
            cells = cells_of(cloud, size)
            assert not torch.isin(cells[~hidden], cells[hidden]).any()


def test_independent_masking_differs_between_clouds_and_co_masking_does_not():
    layout = layout_of(2, 2)
    given = [clouds(layout, 500)[0]] * 12  # everybody sees the same
    apart = hide(BEVCellMasking(RANGE, 0.5), given, layout).hidden
    assert not any(torch.equal(apart[0], other) for other in apart[1:])
    together = hide(BEVCellCoMasking(RANGE, 0.5), given, layout).hidden
    assert all(torch.equal(together[0], own) for own in together[:6])
    assert all(torch.equal(together[6], own) for own in together[6:])
    assert not torch.equal(together[0], together[6])  # samples differ


@pytest.mark.parametrize('frames', ['all', 'current'])
@pytest.mark.parametrize('in_ego', [True, False])
def test_co_masking_hides_the_same_piece_of_the_world_whatever_frame_points_are_in(in_ego, frames):
    """The same world points, seen from everywhere, are hidden for all or for none."""
    layout = layout_of(3, in_ego=in_ego)
    world = clouds(layout, 400)[0]
    # Away from the cells' borders, where rounding decides.
    inner = (world[:, :2] - torch.tensor(RANGE[:2])) / 0.8
    world = world[((inner - inner.floor() - 0.5).abs() < 0.49).all(1)]
    given = [world.clone() for _ in range(9)]
    if not in_ego:
        for cloud, matrix in zip(given, layout.ego_from_points, strict=True):
            inverse = torch.linalg.inv(matrix.double()).float()
            cloud[:, :3] = cloud[:, :3] @ inverse[:3, :3].T + inverse[:3, 3]
    masked = hide(BEVCellCoMasking(RANGE, 0.5, frames=frames), given, layout)
    now, past = masked.hidden[2::3], [h for i, h in enumerate(masked.hidden) if i % 3 != 2]
    assert 0.3 < now[0].float().mean() < 0.7
    assert all(torch.equal(now[0], other) for other in now)
    if frames == 'all':
        assert all(torch.equal(now[0], other) for other in past)
    else:
        assert not torch.stack(past).any()
        assert all(torch.equal(masked.visible[i], given[i]) for i in (0, 1, 3, 4, 6, 7))
    if not in_ego:
        back = layout.to_ego(given)
        torch.testing.assert_close(back[4], world[:, :3], atol=1e-4, rtol=0)


def test_the_current_cells_are_those_that_the_same_seed_hides_from_all_frames():
    layout = layout_of(3, 1, 2, frames=4)
    given = clouds(layout)
    first, again, every, other = (
        hide(BEVCellCoMasking(RANGE, 0.6, frames=frames), given, layout, seed).hidden
        for frames, seed in (('current', 5), ('current', 5), ('all', 5), ('current', 6))
    )
    assert all(map(torch.equal, first, again))
    assert all(map(torch.equal, first[3::4], every[3::4]))
    assert not any(map(torch.equal, first[3::4], other[3::4]))
    assert not any(h.any() for i, h in enumerate(first) if i % 4 != 3)


def test_a_single_frame_is_the_current_one():
    given = clouds(layout_of(4, frames=1))
    found = [hide(BEVCellCoMasking(RANGE, frames=f), given, None) for f in ('all', 'current')]
    assert all(map(torch.equal, found[0].hidden, found[1].hidden))


@pytest.mark.parametrize('encoder', [DensePillarEncoder, SparsePillarEncoder])
@pytest.mark.parametrize('name', STRATEGIES)
def test_nothing_of_what_is_hidden_reaches_the_encoder(name, encoder):
    """Hidden points are moved, changed, taken away and added: the encoder's output is the same."""
    masking, layout = build(STRATEGIES[name]), layout_of(3, 2)
    sizes = dict(out_channels=8) if encoder is DensePillarEncoder else dict(stage_channels=(8, 8))
    torch.manual_seed(0)
    model = encoder(RANGE, [0.5, 0.5], **sizes).eval()
    given = clouds(layout)
    masked = hide(masking, given, layout)
    assert sum(int(h.sum()) for h in masked.hidden) > 100
    before = model(masked.visible)

    parts = list(zip(given, masked.hidden, strict=True))
    gone = [cloud[~hidden] for cloud, hidden in parts]
    others = [alter(cloud, h, masked.region, k) for k, (cloud, h) in enumerate(parts)]
    for altered in (gone, others):
        again = hide(masking, altered, layout)
        assert torch.equal(model(again.visible), before)


def alter(cloud, hidden, region, number):
    """Every hidden point elsewhere within what is hidden, and as many new ones."""
    new = clouds(layout_of(1, frames=1), 4 * len(cloud), seed=number + 1)[0]
    new = new[region.at(new[:, :2], torch.full((len(new),), number))]
    return torch.cat([cloud[~hidden], new]) if hidden.any() else cloud


def test_empty_clouds():
    masking = BEVCellMasking(RANGE, 0.5)
    empty = torch.zeros(0, 4)
    masked = masking([empty, clouds(layout_of(1, frames=1))[0], empty])
    assert [len(v) for v in masked.visible][::2] == [0, 0]
    assert [len(h) for h in masking([empty]).hidden] == [0]


@pytest.mark.parametrize(
    ('config', 'match'),
    [
        (dict(CELLS, ratio=1.2), 'ratio'),
        (dict(CELLS, ratio=-0.1), 'ratio'),
        (dict(CELLS, cell_size=0.0), 'cell_size'),
        (dict(NOW, frames='past'), "frames must be one of .'all', 'current'., got 'past'"),
    ],
)
def test_impossible_arguments_are_refused(config, match):
    with pytest.raises(ValueError, match=match):
        build(config)
