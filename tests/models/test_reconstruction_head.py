import pytest
import torch

from projects.TurboTrain.turbotrain.models import MaskedReconstructionHead
from projects.TurboTrain.turbotrain.models.heads.reconstruction_head import (
    chamfer_l1,
    group_by_cell,
)

RANGE = [-4.0, -2.0, -3.0, 4.0, 2.0, 1.0]


def test_grouping_keeps_every_point_below_the_limit():
    points = torch.randn(200, 3)
    index = torch.randint(0, 20, (200,)).clamp(max=19)
    index[:20] = torch.arange(20)
    rows, mask, counts = group_by_cell(points, index, limit=64)
    assert counts.tolist() == [int((index == r).sum()) for r in range(20)]
    for r in range(20):
        got = rows[r][mask[r]]
        want = points[index == r]
        assert sorted(map(tuple, got.tolist())) == sorted(map(tuple, want.tolist()))


def test_grouping_takes_a_random_choice_above_the_limit():
    points = torch.arange(90.0).view(30, 3)
    rows, mask, counts = group_by_cell(points, torch.zeros(30, dtype=torch.long), limit=8)
    assert mask.all() and counts.tolist() == [30]
    chosen = {tuple(p) for p in rows[0].tolist()}
    assert len(chosen) == 8 and chosen <= {tuple(p) for p in points.tolist()}


def test_chamfer_equals_brute_force_gradients_included():
    torch.manual_seed(0)
    predicted = torch.randn(7, 5, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(7, 9, 3, dtype=torch.float64)
    sizes = [1, 9, 3, 2, 7, 5, 4]
    mask = torch.arange(9) < torch.tensor(sizes)[:, None]
    total = 0
    for p, t, n in zip(predicted, target, sizes, strict=True):
        distance = torch.stack([torch.stack([(a - b).abs().sum() for b in t[:n]]) for a in p])
        total = total + distance.min(1).values.mean() + distance.min(0).values.mean()
    ours = chamfer_l1(predicted, target, mask)
    torch.testing.assert_close(ours, total / 7, atol=1e-12, rtol=1e-9)
    (expected,) = torch.autograd.grad(total / 7, predicted)
    (found,) = torch.autograd.grad(ours, predicted)
    torch.testing.assert_close(found, expected)


def make_head(**kwargs) -> MaskedReconstructionHead:
    torch.manual_seed(0)
    return MaskedReconstructionHead(4, RANGE, feat_channels=8, **kwargs)


def test_targets_are_relative_to_their_cells():
    head = make_head()
    # 8 x 4 cells of 1 m: column 5, row 3 has its centre at (1.5, 1.5).
    cloud = torch.tensor([[1.7, 1.4, 0.0], [1.1, 1.9, -2.0], [-3.5, -1.5, 0.0], [9.0, 0, 0]])
    hidden = torch.tensor([True, False, False, True])
    (target, mask), cells, counts = head._targets(torch.zeros(1, 4, 4, 8), [cloud], [hidden])
    assert cells.tolist() == [3 * 8 + 5]
    assert counts.tolist() == [2]
    expected = torch.tensor([[-0.4, 0.4, -0.25], [0.2, -0.1, 0.25]])
    found = target[0][mask[0]]
    torch.testing.assert_close(found[found[:, 0].argsort()], expected)


def test_the_second_sample_of_a_batch_is_the_same_alone():
    head = make_head(max_targets=200).eval()
    bev = torch.randn(2, 4, 4, 8)
    clouds = [(torch.rand(n, 3) * 2 - 1) * torch.tensor([4, 2, 1]) for n in (50, 80)]
    hidden = [torch.rand(n) < 0.5 for n in (50, 80)]
    both = head._targets(bev, clouds, hidden)
    alone = head._targets(bev[1:], clouds[1:], hidden[1:])
    own = both[1] >= 32
    assert (both[1][own] - 32).tolist() == alone[1].tolist()
    assert both[2][own].tolist() == alone[2].tolist()


@pytest.mark.parametrize('hide', [0.0, 1.0])
def test_no_hidden_cell_and_all_hidden(hide):
    head = make_head()
    cloud = (torch.rand(60, 3) * 2 - 1) * torch.tensor([4.0, 2.0, 1.0])
    losses = head.loss(torch.randn(1, 4, 4, 8), [cloud], [torch.full((60,), hide == 1.0)])
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    assert (total > 0) == (hide == 1.0)


def test_an_empty_cloud_has_a_loss_of_zero_with_a_graph():
    losses = make_head().loss(
        torch.randn(1, 4, 4, 8), [torch.zeros(0, 3)], [torch.zeros(0, dtype=torch.bool)]
    )
    assert sum(losses.values()) == 0
    sum(losses.values()).backward()


def test_it_learns_what_the_map_tells():
    head = make_head(num_points=4)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    bev = torch.randn(1, 4, 4, 8)
    cloud = (torch.rand(400, 3) * 2 - 1) * torch.tensor([4.0, 2.0, 0.1])
    hidden = torch.ones(400, dtype=torch.bool)
    history = []
    for _ in range(60):
        loss = sum(head.loss(bev, [cloud], [hidden]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.6 * history[0]
