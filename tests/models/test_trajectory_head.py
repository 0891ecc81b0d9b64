import math

import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes

from projects.TurboTrain.turbotrain.models import TrajectoryHead, VectorMaps
from projects.TurboTrain.turbotrain.models.heads.trajectory_head import _rotate
from projects.TurboTrain.turbotrain.structures import pose_to_matrix
from tests.golden import load_golden
from tests.models.test_map_encoder import road_maps

RANGE = [-16.0, -16.0, -3.0, 16.0, 16.0, 1.0]


def make_head(**kwargs) -> TrajectoryHead:
    torch.manual_seed(0)
    return TrajectoryHead(4, 3, RANGE, feat_channels=32, **kwargs)


def boxes(count: int, reach: float = 8.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    unit = torch.rand(count, 7, generator=generator)
    low = torch.tensor([-reach, -reach, -2, 3, 1, 1, -math.pi])
    high = torch.tensor([reach, reach, -1, 6, 2, 2, math.pi])
    return low + unit * (high - low)


def labels(count: int) -> torch.Tensor:
    return torch.arange(count) % 3


def trained(head: TrajectoryHead) -> TrajectoryHead:
    torch.nn.init.normal_(head.mlp[-1].weight, std=0.3)
    torch.nn.init.normal_(head.mlp[-1].bias)
    return head.eval()


def test_golden_rotation():
    case = load_golden()['v2xpnp']['rotate_2d']
    vectors, angle = torch.tensor([[case['p']]]), torch.tensor([case['angle']])
    torch.testing.assert_close(_rotate(vectors, angle)[0], torch.tensor(case['out']))


def test_untrained_it_forecasts_that_everything_stands_still():
    given = boxes(5)
    ((paths,), (scores,)) = make_head()(torch.randn(1, 4, 32, 32), [given], [labels(5)])
    torch.testing.assert_close(paths, given[:, None, None, :2].expand(-1, 1, 6, -1))
    assert scores.shape == (5, 1)


def test_one_mode_is_what_it_was_before_there_were_several():
    """Numbers of the head that knew one mode only."""
    head = make_head(position_noise=0.0, yaw_noise=0.0, reversal_probability=0.0)

    def wave(*shape: int) -> torch.Tensor:
        return torch.arange(math.prod(shape)).float().mul(0.7).sin().view(shape)

    for parameter in head.parameters():
        parameter.data = 0.2 * wave(*parameter.shape)
    given = wave(3, 7) * torch.tensor([8, 8, 1, 1, 0.5, 0.5, 3])
    given += torch.tensor([0, 0, -1, 4, 2, 1.5, 0])
    future = given[:, None, :2] + torch.arange(1, 7)[:, None]
    rows = [t.split([2, 1]) for t in (given, labels(3), future, torch.ones(3, 6).bool())]
    losses = head.loss(wave(2, 4, 32, 32), *map(list, rows))
    assert set(losses) == {'loss_trajectory'}
    assert losses['loss_trajectory'].item() == pytest.approx(5.075193405151367, rel=1e-5)
    paths, _ = head(wave(2, 4, 32, 32), list(rows[0]), list(rows[1]))
    ends = [[0.399279, 4.685834], [-8.424356, -4.795332], [-2.937521, -7.625887]]
    torch.testing.assert_close(torch.cat(paths)[:, 0, -1], torch.tensor(ends), atol=1e-4, rtol=1e-4)


def test_turning_the_world_turns_the_forecast():
    head, given = trained(make_head()), boxes(6)
    bev = torch.randn(1, 4, 32, 32)
    ((before,), _) = head(bev, [given], [labels(6)])
    turned = given.clone()
    turned[:, 0], turned[:, 1] = -given[:, 1], given[:, 0]
    turned[:, 6] += math.pi / 2
    # A quarter turn counter-clockwise: what lay along x lies along y.
    ((after,), _) = head(bev.rot90(1, (3, 2)), [turned], [labels(6)])
    expected = torch.stack([-before[..., 1], before[..., 0]], dim=-1)
    torch.testing.assert_close(after, expected, atol=1e-4, rtol=1e-4)


def test_batches_and_samples_without_boxes():
    head, given = trained(make_head()), boxes(7)
    bev = torch.randn(3, 4, 32, 32)
    parts = [given[:5], given[:0], given[5:]]
    together, _ = head(bev, parts, [labels(5), labels(0), labels(2)])
    assert [len(p) for p in together] == [5, 0, 2]
    ((alone,), _) = head(bev[2:], [given[5:]], [labels(2)])
    torch.testing.assert_close(together[2], alone, atol=1e-5, rtol=1e-5)
    ((none,), _) = head(bev[:1], [given[:0]], [labels(0)])
    assert none.shape == (0, 1, 6, 2)


@pytest.mark.parametrize('modes', [1, 3])
def test_no_object_and_no_known_future_have_a_loss_of_zero_with_a_graph(modes):
    head = make_head(num_modes=modes)
    for count in (0, 3):
        bev = torch.randn(1, 4, 32, 32, requires_grad=True)
        losses = head.loss(
            bev, [boxes(count)], [labels(count)], [torch.zeros(count, 6, 2)],
            [torch.zeros(count, 6, dtype=torch.bool)],
        )  # fmt: skip
        assert len(losses) == min(modes, 2)
        for loss in losses.values():
            assert loss == 0
            loss.backward(retain_graph=True)


def test_unknown_steps_do_not_count():
    head, given = make_head(position_noise=0.0, yaw_noise=0.0, reversal_probability=0.0), boxes(4)
    future = given[:, None, :2] + torch.tensor([3.0, 4.0]) * torch.ones(6, 1)
    valid = torch.ones(4, 6, dtype=torch.bool)
    bev = torch.randn(1, 4, 32, 32)
    whole = head.loss(bev, [given], [labels(4)], [future], [valid])['loss_trajectory']
    assert whole.item() == pytest.approx(5.0, abs=1e-4)
    valid[:, 3:] = False
    future[:, 3:] = 1e6
    part = head.loss(bev, [given], [labels(4)], [future], [valid])['loss_trajectory']
    torch.testing.assert_close(part, whole)


def test_it_learns_speed_from_a_trail():
    """The map shows where each object was half a second ago; the head must go on from there."""
    head = make_head(reversal_probability=0.0)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)

    def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        box = torch.zeros(6, 7)
        box[:, 0] = torch.randint(-4, 4, (6,), generator=generator)
        box[:, 1] = torch.arange(-12.5, 12.5, 25 / 6)
        box[:, 3:6] = torch.tensor([4.0, 2.0, 1.5])
        speed = torch.randint(0, 3, (6,), generator=generator) * 2.0
        bev = torch.zeros(1, 4, 32, 32)
        bev[0, 0, (box[:, 1] + 16).long(), (box[:, 0] + 16 - speed).long()] = 5.0
        steps = speed[:, None] * torch.arange(1, 7)
        future = box[:, None, :2] + torch.stack([steps, 0 * steps], dim=-1)
        return bev, box, future

    history = []
    for _ in range(300):
        bev, box, future = batch()
        valid = torch.ones(6, 6, dtype=torch.bool)
        loss = head.loss(bev, [box], [labels(6)], [future], [valid])['loss_trajectory']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-20:]) < 0.25 * sum(history[:20])


def at_a_fork(head: TrajectoryHead, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Train on objects of which 3 in 4 go left and 1 goes right, whatever the map says."""
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    bev, box = torch.zeros(1, 4, 32, 32), boxes(16)
    box[:, 6] = 0.0
    steps_ahead = torch.arange(1.0, 7.0)
    valid = torch.ones(16, 6, dtype=torch.bool)
    for _ in range(steps):
        left = torch.rand(16, generator=generator) < 0.75
        side = torch.where(left, 1.0, -1.0)[:, None] * steps_ahead
        future = box[:, None, :2] + torch.stack([2 * steps_ahead.expand_as(side), side], dim=-1)
        losses = head.loss(bev, [box], [labels(16)], [future], [valid])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    head.eval()
    (found,) = head.predict(bev, [LiDARInstance3DBoxes(box)], [labels(16)])
    return found[0] - box[:, None, None, :2], found[1]


@torch.no_grad()
def ends_of(paths: torch.Tensor) -> torch.Tensor:
    return paths[:, :, -1]


def test_modes_part_at_a_fork_and_their_scores_know_how_often():
    sharp = dict(position_noise=0.0, yaw_noise=0.0, reversal_probability=0.0)
    paths, scores = at_a_fork(make_head(num_modes=3, **sharp), steps=400)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(16))
    left, right = torch.tensor([12.0, 6.0]), torch.tensor([12.0, -6.0])
    to_left = (ends_of(paths) - left).norm(dim=-1)
    to_right = (ends_of(paths) - right).norm(dim=-1)
    assert to_left.amin(dim=1).max() < 1.0
    assert to_right.amin(dim=1).max() < 1.0
    assert ((scores * (to_left < 1.0)).sum(dim=1) - 0.75).abs().max() < 0.2
    # One mode can but go between the two.
    single, _ = at_a_fork(make_head(**sharp), steps=400)
    assert (ends_of(single) - right).norm(dim=-1).amin() > 3.0


def test_the_nearest_mode_alone_is_regressed():
    head = make_head(num_modes=3, position_noise=0.0, yaw_noise=0.0, reversal_probability=0.0)
    given = boxes(4)
    ahead = torch.stack([given[:, 6].cos(), given[:, 6].sin()], dim=-1)
    # Untrained, mode k drives ahead at k m a step: mode 2 is 0.25 m a step too fast.
    future = given[:, None, :2] + 1.75 * torch.arange(1, 7)[:, None] * ahead[:, None]
    losses = head.loss(
        torch.randn(1, 4, 32, 32), [given], [labels(4)], [future], [torch.ones(4, 6).bool()]
    )
    assert losses['loss_trajectory'].item() == pytest.approx(0.25 * 3.5, abs=1e-3)
    losses['loss_trajectory'].backward()
    of_mode = head.mlp[-1].bias.grad.view(3, -1).abs().sum(dim=1)
    assert of_mode[2] > 0
    assert not of_mode[:2].any()


def test_the_map_is_looked_at_from_the_box():
    """Turning box, features and lanes together turns the forecast; other lanes change it."""
    head = trained(make_head(map_attention=dict(embed_channels=16)))
    given, maps = boxes(6), road_maps()
    bev = torch.randn(1, 4, 32, 32)
    ((before,), _) = head(bev, [given], [labels(6)], maps)
    turn = torch.from_numpy(pose_to_matrix([[0, 0, 0, 0, 90, 0]]))
    turned = given.clone()
    turned[:, 0], turned[:, 1] = -given[:, 1], given[:, 0]
    turned[:, 6] += math.pi / 2
    ((after,), _) = head(bev.rot90(1, (3, 2)), [turned], [labels(6)], maps.moved(turn))
    expected = torch.stack([-before[..., 1], before[..., 0]], dim=-1)
    torch.testing.assert_close(after, expected, atol=1e-3, rtol=1e-3)
    ((other,), _) = head(bev, [given], [labels(6)], maps.moved(turn))
    assert (other - before).abs().max() > 1e-2


@pytest.mark.parametrize('count', [0, 3])
def test_without_a_map_it_forecasts_as_if_it_never_looked(count):
    head, plain = trained(make_head(map_attention=dict(embed_channels=16))), make_head()
    plain.load_state_dict(head.state_dict(), strict=False)
    bev, given = torch.randn(2, 4, 32, 32), [boxes(count), boxes(5)]
    expected, _ = plain(bev, given, [labels(count), labels(5)])
    nothing = VectorMaps(torch.zeros(2, 0, 10, 7), torch.zeros(2, 0, 10, dtype=torch.bool))
    for maps in (None, nothing):
        found, _ = head(bev, given, [labels(count), labels(5)], maps)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)


def test_it_learns_to_follow_the_lane():
    """The map alone says where a box goes: along the lane that is under it."""
    head = make_head(
        map_attention=dict(embed_channels=32, num_polylines=1),
        position_noise=0.0, yaw_noise=0.0, reversal_probability=0.0,
    )  # fmt: skip
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    bev, history = torch.zeros(1, 4, 32, 32), []
    for _ in range(250):
        angle = 2 * math.pi * torch.rand(8, generator=generator)
        ahead = torch.stack([angle.cos(), angle.sin()], dim=-1)
        box = boxes(8)
        lines = torch.zeros(1, 8, 10, 7)
        lines[0, ..., :2] = box[:, None, :2] + torch.arange(-4.0, 6.0)[:, None] * ahead[:, None]
        lines[0, ..., 3:5] = ahead[:, None]
        lines[..., 6] = 1.0
        future = box[:, None, :2] + torch.arange(1.0, 7.0)[:, None] * ahead[:, None]
        loss = head.loss(
            bev, [box], [labels(8)], [future], [torch.ones(8, 6).bool()],
            VectorMaps(lines, torch.ones(1, 8, 10).bool()),
        )['loss_trajectory']  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-20:]) < 0.3 * sum(history[:20])


def test_places_are_exact_in_half_precision():
    """A ramp, whose every value is exact, is read where the boxes are."""
    head, given = make_head(), boxes(6)
    ramp = torch.arange(32.0).expand(1, 4, 32, 32)
    exact = head._sample(ramp, given[None])
    half = head._sample(ramp.bfloat16(), given[None])
    torch.testing.assert_close(half, exact.bfloat16(), atol=0, rtol=0)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(head._sample(ramp, given[None]), exact, atol=0, rtol=0)
