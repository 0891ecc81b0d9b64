import pytest
import torch

from tools.costs.memory import peak_megabytes
from turbotrain.pretraining import MaskedReconstructionHead, ReconstructionTarget
from turbotrain.pretraining.chamfer import chamfer_distance, group_by_cell

RANGE = [-4.0, -2.0, -3.0, 4.0, 2.0, 1.0]


def test_grouping_keeps_every_point_below_the_limit():
    points = torch.randn(200, 3)
    index = torch.randint(0, 20, (200,)).clamp(max=19)
    index[:20] = torch.arange(20)
    rows, counts = group_by_cell(points, index, limit=64)
    assert counts.tolist() == [int((index == r).sum()) for r in range(20)]
    for r in range(20):
        got = rows[r, : counts[r]]
        assert not rows[r, counts[r] :].any()
        want = points[index == r]
        assert sorted(map(tuple, got.tolist())) == sorted(map(tuple, want.tolist()))


def test_grouping_takes_a_random_choice_above_the_limit():
    points = torch.arange(90.0).view(30, 3)
    rows, counts = group_by_cell(points, torch.zeros(30, dtype=torch.long), limit=8)
    assert counts.tolist() == [30]
    chosen = {tuple(p) for p in rows[0].tolist()}
    assert len(chosen) == 8 and chosen <= {tuple(p) for p in points.tolist()}


def brute_force(predicted, target, sizes, norm):
    """Point by point; also who is nearest is left to the graph."""
    total = 0
    for p, t, n in zip(predicted, target, sizes, strict=True):
        pairs = [[(a - b).abs().sum() if norm == 'l1' else (a - b).pow(2).sum() for b in t[:n]]
                 for a in p]  # fmt: skip
        distance = torch.stack([torch.stack(row) for row in pairs])
        total = total + distance.min(1).values.mean() + distance.min(0).values.mean()
    return total / len(predicted)


@pytest.mark.parametrize('norm', ['l1', 'l2'])
@pytest.mark.parametrize('chunk', [1, 3, 2048])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_chamfer_equals_brute_force_gradients_included(norm, chunk, dtype):
    generator = torch.Generator().manual_seed(0)
    for rows, n, m in ((7, 5, 9), (1, 1, 1), (12, 20, 4), (3, 2, 30)):
        predicted = torch.randn(rows, n, 3, dtype=dtype, generator=generator).requires_grad_()
        target = torch.randn(rows, m, 3, dtype=dtype, generator=generator)
        sizes = torch.randint(1, m + 1, (rows,), generator=generator)
        expected = brute_force(predicted, target, sizes.tolist(), norm)
        found = chamfer_distance(predicted, target, sizes, norm, chunk)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(
            *(torch.autograd.grad(loss, predicted)[0] for loss in (found, expected)),
            atol=1e-6, rtol=1e-5,
        )  # fmt: skip


def test_what_fills_up_the_rows_does_not_count():
    predicted, target = torch.randn(4, 5, 3), torch.randn(4, 6, 3)
    counts = torch.tensor([1, 6, 3, 2])
    filled = target.masked_fill(torch.arange(6)[:, None] >= counts[:, None, None], 1e6)
    found = [chamfer_distance(predicted, points, counts) for points in (target, filled)]
    assert found[0] == found[1]


def test_memory_grows_with_the_points_not_with_their_pairs():
    """20,000 cells of 20 x 64 points: all pairs at once would be 98 MB, and three times that."""
    predicted = torch.randn(20_000, 20, 3, requires_grad=True)
    target = torch.randn(20_000, 64, 3)
    counts = torch.full((20_000,), 64)
    peak = peak_megabytes(lambda: chamfer_distance(predicted, target, counts).backward())
    points = 4 * 3 * (predicted.shape[1] + target.shape[1]) * len(predicted)
    assert 0 < peak * 2**20 < 6 * points


def make_head(**kwargs) -> MaskedReconstructionHead:
    torch.manual_seed(0)
    return MaskedReconstructionHead(4, RANGE, feat_channels=8, **kwargs)


def make_target(clouds, hidden, cells=None) -> ReconstructionTarget:
    cells = torch.ones(len(clouds), 4, 8, dtype=torch.bool) if cells is None else cells
    return ReconstructionTarget(clouds, hidden, cells)


def test_targets_are_relative_to_their_cells():
    head = make_head()
    # 8 x 4 cells of 1 m: column 5, row 3 has its centre at (1.5, 1.5).
    cloud = torch.tensor([[1.7, 1.4, 0.0], [1.1, 1.9, -2.0], [-3.5, -1.5, 0.0], [9.0, 0, 0]])
    hidden = torch.tensor([True, False, False, True])
    target = make_target([cloud], [hidden])
    cells, occupied, points, counts = head._cells(target, (4, 8))
    assert cells.tolist() == [3 * 8 + 5]
    assert occupied.nonzero().flatten().tolist() == [0, 3 * 8 + 5]
    assert counts.tolist() == [2]
    expected = torch.tensor([[-0.4, 0.4, -0.25], [0.2, -0.1, 0.25]])
    found = points[0, :2]
    torch.testing.assert_close(found[found[:, 0].argsort()], expected)


def test_the_second_sample_of_a_batch_is_the_same_alone():
    head = make_head(max_targets=200)
    clouds = [(torch.rand(n, 3) * 2 - 1) * torch.tensor([4, 2, 1]) for n in (50, 80)]
    hidden = [torch.rand(n) < 0.5 for n in (50, 80)]
    both = head._cells(make_target(clouds, hidden), (4, 8))
    alone = head._cells(make_target(clouds[1:], hidden[1:]), (4, 8))
    own = both[0] >= 32
    assert (both[0][own] - 32).tolist() == alone[0].tolist()
    assert both[1][32:].tolist() == alone[1].tolist()
    assert both[3][own].tolist() == alone[3].tolist()


def losses_of(head, cloud, hidden, cells=None):
    torch.manual_seed(1)
    return head.loss(torch.randn(1, 4, 4, 8), make_target([cloud], [hidden], cells))


def some_cloud(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return (torch.rand(count, 3, generator=generator) * 2 - 1) * torch.tensor([4.0, 2.0, 1.0])


@pytest.mark.parametrize('hide', [False, True])
def test_no_hidden_cell_and_all_hidden(hide):
    cells = torch.full((1, 4, 8), hide)
    losses = losses_of(make_head(), some_cloud(60), torch.full((60,), hide), cells)
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    assert all((loss > 0) == hide for loss in losses.values())


def test_an_empty_cloud_has_losses_with_a_graph():
    losses = losses_of(make_head(), torch.zeros(0, 3), torch.zeros(0, dtype=torch.bool))
    assert losses['loss_chamfer'] == 0 and losses['loss_density'] == 0
    assert losses['loss_occupancy'] > 0  # that the hidden cells are empty is to be learned
    sum(losses.values()).backward()


def test_occupancy_is_asked_of_hidden_cells_alone_and_balances_both_kinds():
    head = make_head()
    cloud = torch.tensor([[-3.5, -1.5, 0.0], [-2.5, -1.5, 0.0]])  # the first two cells
    hidden = torch.tensor([True, False])
    cells = torch.zeros(1, 4, 8, dtype=torch.bool)
    cells[0, 0, [0, 5, 6]] = True  # two of them are empty
    torch.manual_seed(1)
    bev = torch.randn(1, 4, 4, 8)
    logits = head(bev)[1].detach()[0, 0]
    found = head.loss(bev, make_target([cloud], [hidden], cells))['loss_occupancy']
    chance = logits.sigmoid()
    expected = -chance[0].log() / 2 - (1 - chance[[5, 6]]).log().mean() / 2
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def street(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Ground that rises by 4 % along x, and a wall 0.5 to 1.5 m above it in column 5.

    Returns:
        points: (P, 3).
        wall: (P,) bool, which of them are on the wall.
    """
    points = (torch.rand(4000, 3, generator=generator) * 2 - 1) * torch.tensor([4.0, 2.0, 0.02])
    wall = (points[:, 0] > 1.2) & (points[:, 0] < 1.8) & (torch.arange(4000) % 2 == 0)
    points[wall, 2] = 0.5 + torch.rand(int(wall.sum()), generator=generator)
    points[:, 2] += 0.04 * points[:, 0] - 2
    return points, wall


def test_what_lies_on_the_ground_is_not_asked_for():
    points, wall = street(torch.Generator().manual_seed(0))
    hidden = torch.arange(len(points)) % 3 > 0
    target = make_target([points], [hidden])
    asked = make_target([points[wall]], [hidden[wall]])
    limit = dict(max_targets=500)
    found = make_head(ground_margin=0.2, **limit)._cells(target, (4, 8))
    expected = make_head(**limit)._cells(asked, (4, 8))
    assert found[0].tolist() == [5, 13, 21, 29] == found[1].nonzero().flatten().tolist()
    assert torch.equal(found[3], expected[3])  # the density
    for own, other in zip(found[2], expected[2], strict=True):  # the points, in any order
        assert sorted(own.tolist()) == sorted(other.tolist())
    assert len(make_head()._cells(target, (4, 8))[0]) == 32
    (truth,) = make_head(ground_margin=0.2).truth(target)
    assert torch.equal(truth, points[wall & hidden])


def test_cells_with_nothing_above_the_ground_count_as_empty():
    points, wall = street(torch.Generator().manual_seed(1))
    target = make_target([points], [torch.ones(len(points), dtype=torch.bool)])
    bev = torch.randn(1, 4, 4, 8)
    head = make_head(ground_margin=0.2)
    chance = head(bev)[1].detach().flatten().sigmoid()
    full = torch.arange(32) % 8 == 5
    expected = -chance[full].log().mean() / 2 - (1 - chance[~full]).log().mean() / 2
    found = head.loss(bev, target)
    torch.testing.assert_close(found['loss_occupancy'], expected, atol=1e-5, rtol=1e-4)
    bare = head.loss(bev, make_target([points[~wall]], [target.hidden[0][~wall]]))
    assert bare['loss_chamfer'] == 0 == bare['loss_density']
    assert bare['loss_occupancy'] > 0
    sum(bare.values()).backward()
    with pytest.raises(ValueError, match='ground_margin must be above 0 m, got 0'):
        make_head(ground_margin=0)


def test_weights_scale_their_losses_and_the_norm_is_checked():
    cloud, hidden = some_cloud(60), torch.ones(60, dtype=torch.bool)
    plain = losses_of(make_head(max_targets=60), cloud, hidden)
    weights = dict(chamfer_weight=2.0, density_weight=0.0, occupancy_weight=0.5)
    weighted = losses_of(make_head(max_targets=60, **weights), cloud, hidden)
    for name, loss in plain.items():
        expected = loss * weights[name.replace('loss_', '') + '_weight']
        torch.testing.assert_close(weighted[name], expected)
    squared = losses_of(make_head(max_targets=60, norm='l2'), cloud, hidden)
    assert squared['loss_chamfer'] != plain['loss_chamfer']
    with pytest.raises(ValueError, match="norm must be one of .'l1', 'l2'., got 'l3'"):
        make_head(norm='l3')


@pytest.mark.parametrize('depth', [1, 3])
def test_each_convolution_looks_one_cell_further(depth):
    bev = torch.randn(1, 4, 16, 32, requires_grad=True)
    _, occupancy = make_head(num_convs=depth).eval()(bev)
    occupancy[0, 8, 16].backward()
    rows, columns = bev.grad[0].abs().sum(dim=0).nonzero().T
    assert (rows.min(), rows.max()) == (8 - depth, 8 + depth)
    assert (columns.min(), columns.max()) == (16 - depth, 16 + depth)


def test_reconstruction_puts_the_points_where_they_were():
    """One plane of points in half of the cells; the head sees a map that tells which."""
    head = make_head(num_points=6).train()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    cloud = some_cloud(800)
    cloud[:, 2] = 0.5
    cloud = cloud[cloud[:, 0] < 0]
    bev = torch.randn(1, 4, 4, 8)
    bev[:, 0, :, :4], bev[:, 0, :, 4:] = 3, -3
    target = make_target([cloud], [torch.ones(len(cloud), dtype=torch.bool)])
    for _ in range(150):
        loss = sum(head.loss(bev, target).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    (found,) = head.reconstruct(bev, target.hidden_cells)
    # About 25 points in each of 16 cells, of which it can give 6.
    assert found.shape == (16 * 6, 3)
    assert (found[:, 2] - 0.5).abs().max() < 0.15
    assert found[:, 0].max() < 0.2 and found[:, 1].abs().max() < 2.2
    nearest = torch.cdist(found, cloud).amin(1)
    assert nearest.mean() < 0.2
    head.density.weight.data.zero_()
    head.density.bias.data.fill_(2 / head.max_targets)
    assert len(head.reconstruct(bev, target.hidden_cells)[0]) == 16 * 2
    upper = target.hidden_cells.clone()
    upper[:, :2] = False
    (part,) = head.reconstruct(bev, upper)
    assert len(part) == 8 * 2 and part[:, 1].min() > -0.2


@pytest.mark.parametrize(('count', 'expected'), [(32, 0.5), (100, 1.0)])
def test_density_is_the_number_of_points_over_the_most_that_count(count, expected):
    head = make_head(max_targets=64)
    head.density.weight.data.zero_()
    head.density.bias.data.fill_(0.25)
    cloud = torch.rand(count, 3) * 0.9 + torch.tensor([1.05, 1.05, -1.0])  # all in one cell
    target = make_target([cloud], [torch.ones(count, dtype=torch.bool)])
    found = head.loss(torch.randn(1, 4, 4, 8), target)['loss_density']
    torch.testing.assert_close(found, torch.tensor(0.5 * (expected - 0.25) ** 2))
