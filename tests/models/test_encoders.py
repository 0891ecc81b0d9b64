import copy

import pytest
import torch

from turbotrain.models import DensePillarEncoder, SparsePillarEncoder

RANGE = [-8.0, -4.0, -3.0, 8.0, 4.0, 1.0]


def clouds(*counts: int, spread: float = 10.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([spread, spread / 2, 2.0, 1.0])
    return [(torch.rand(n, 4, generator=generator) * 2 - 1) * scale for n in counts]


@pytest.fixture
def encoder() -> DensePillarEncoder:
    torch.manual_seed(0)
    return DensePillarEncoder(RANGE, [0.5, 0.5], out_channels=8)


def looped_map(encoder: DensePillarEncoder, cloud: torch.Tensor) -> torch.Tensor:
    """(8, 16, 32), pillar by pillar."""
    maps = torch.zeros(8, 16, 32)
    low, high = torch.tensor(RANGE[:3]), torch.tensor(RANGE[3:])
    inside = cloud[((cloud[:, :3] > low) & (cloud[:, :3] < high)).all(1)]
    cells = ((inside[:, :2] - low[:2]) / 0.5).floor().long()
    for cell in cells.unique(dim=0):
        own = inside[(cells == cell).all(1)]
        xy = (own[:, :2] - (low[:2] + (cell + 0.5) * 0.5)) / 0.25
        position = own[:, :3] / torch.tensor([8.0, 4.0, 2.0]) + torch.tensor([0, 0, 0.5])
        local = torch.cat([xy, position[:, 2:]], dim=1)
        features = torch.cat([xy, position, own[:, 3:], local - local.mean(0)], dim=1)
        maps[:, cell[1], cell[0]] = encoder.points.layers(features).amax(0)
    return maps


def test_pillar_features_and_their_gradients_equal_a_loop(encoder):
    cloud = clouds(300, spread=4.0)[0]
    cloud = torch.cat([cloud, cloud[:100]])  # equal points share what they win
    weight = torch.randn(8, 16, 32, generator=torch.Generator().manual_seed(0))
    found, expected = encoder([cloud])[0], looped_map(encoder, cloud)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    parameters = list(encoder.parameters())
    gradients, wanted = (
        torch.autograd.grad((maps * weight).sum(), parameters) for maps in (found, expected)
    )
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want, atol=1e-4, rtol=1e-5)


def test_order_of_points_and_other_clouds_change_nothing(encoder):
    a, b = clouds(200, 150)
    together = encoder([a, b])
    shuffled = a[torch.randperm(len(a), generator=torch.Generator().manual_seed(1))]
    torch.testing.assert_close(encoder([shuffled])[0], together[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(encoder([b])[0], together[1])


def test_empty_clouds_and_points_outside_are_nothing(encoder):
    far = torch.tensor([[100.0, 0, 0, 0], [0, 0, 5.0, 0], [-8.0, 0, 0, 0]])
    maps = encoder([torch.zeros(0, 4), far])
    assert maps.shape == (2, 8, 16, 32)
    assert not maps.any()
    maps.sum().backward()


@pytest.mark.parametrize('kind', ['encoder', 'sparse'])
@pytest.mark.parametrize('broken', [torch.nan, torch.inf, -torch.inf])
def test_broken_points_change_neither_maps_nor_gradients(kind, broken, request):
    encoder = request.getfixturevalue(kind)
    (cloud,) = clouds(100)
    lost = cloud[:3].clone()
    lost[0, 0] = lost[1, 2] = lost[2] = broken
    found, expected = encoder([torch.cat([lost, cloud])]), encoder([cloud])
    assert torch.equal(found, expected)
    parameters = list(encoder.parameters())
    gradients, wanted = (
        torch.autograd.grad(maps.square().sum(), parameters) for maps in (found, expected)
    )
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want)


def test_a_range_that_is_no_multiple_of_pillars_is_refused():
    with pytest.raises(ValueError, match='multiple of the pillar size'):
        DensePillarEncoder(RANGE, [0.3, 0.5])


@pytest.fixture
def sparse() -> SparsePillarEncoder:
    torch.manual_seed(0)
    encoder = SparsePillarEncoder(RANGE, [0.5, 0.5], stage_channels=(8, 12), depth=1)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
    return encoder.eval()


def test_sparse_convolutions_equal_masked_dense_ones(sparse):
    (cloud,) = clouds(150)
    found = sparse([cloud])[0]
    assert found.shape == (12, 8, 16)
    features, pillar = sparse.points([cloud])
    maps = features.new_zeros(16 * 32 + 1, 8).index_copy(0, pillar, features)[:-1]
    there = torch.zeros(16 * 32 + 1).index_fill(0, pillar, 1.0)[:-1].view(1, 1, 16, 32)
    x = maps.T.view(1, 8, 16, 32)

    def convolve(x, conv, stride=1):
        weight = conv.weight.permute(0, 3, 1, 2)  # out, in, rows, columns
        return torch.nn.functional.conv2d(x, weight, padding=1, stride=stride)

    def normalise(x, norm):
        return torch.nn.functional.batch_norm(
            x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )

    def block(x, layers, there):
        conv1, norm1, _, conv2, norm2 = layers
        inner = normalise(convolve(x, conv1), norm1).relu() * there
        return (normalise(convolve(inner, conv2), norm2) + x).relu() * there

    first, down, second = sparse.stages
    x = block(x, first.layers, there)
    there = torch.nn.functional.max_pool2d(there, 3, stride=2, padding=1)
    x = normalise(convolve(x, down[0], stride=2), down[1]).relu() * there
    x = block(x, second.layers, there)
    torch.testing.assert_close(found, x[0], atol=1e-5, rtol=1e-4)
    assert (x == 0).any() and (x > 0).any()


def test_sparse_clouds_are_encoded_each_by_itself_and_train(sparse):
    a, b = clouds(200, 150)
    together = sparse([a, torch.zeros(0, 4), b])
    torch.testing.assert_close(sparse([b])[0], together[2], atol=1e-6, rtol=1e-5)
    assert not together[1].any()
    sparse.train()
    sparse([a, b]).square().mean().backward()
    assert all(p.grad.any() for p in sparse.parameters())


def test_sparse_encoder_of_nothing_is_zero_with_a_graph(sparse):
    far = torch.tensor([[100.0, 0, 0, 0]])
    maps = sparse([torch.zeros(0, 4), far])
    assert maps.shape == (2, 12, 8, 16)
    assert not maps.any()
    maps.sum().backward()
    with pytest.raises(ValueError, match='multiple of 8'):
        SparsePillarEncoder(RANGE, [0.5, 4.0], stage_channels=(8, 8, 8, 8))


@pytest.mark.parametrize(
    'points',
    [
        [[0.1, 0.1, 0.0, 0.5]],
        [[0.1, 0.1, 0.0, 0.5], [0.2, 0.1, 0.0, 0.5]],  # in one pillar
        [[7.1, 3.6, 0.0, 0.5], [7.6, 3.6, 0.0, 0.5]],  # in one cell of the second stage
    ],
)
def test_a_single_occupied_pillar_trains_and_is_encoded_as_in_testing(sparse, points):
    cloud, before = [torch.tensor(points)], copy.deepcopy(sparse.state_dict())
    expected = sparse(cloud)
    found = sparse.train()(cloud)
    assert torch.isfinite(found).all() and found.any()
    found.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in sparse.parameters())
    if sparse.points(cloud)[1].shape == (1,):
        torch.testing.assert_close(found, expected)
    # Statistics of a batch with some more rows are learned as ever.
    sparse(clouds(100))
    after = sparse.state_dict()
    assert all(not torch.equal(after[key], before[key]) for key in after if 'running' in key)


@pytest.mark.parametrize('kind', [torch.bfloat16, torch.float16])
def test_sparse_convolutions_stay_precise_in_mixed_precision(sparse, kind):
    (cloud,) = clouds(150)
    expected = sparse([cloud])
    with torch.autocast('cpu', kind):
        found = sparse.train()([cloud])
        rough = sparse.eval()([cloud])
    assert rough.dtype == found.dtype == torch.float32
    assert (rough - expected).abs().mean() < 0.05 * expected.abs().mean()
    found.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in sparse.parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason='with CUDA the kernels are needed')
def test_kernels_that_nobody_can_run_are_not_described():
    """That would take six seconds of every start."""
    from spconv import algo

    assert not algo.ALL_NATIVE_PARAMS and not algo.ALL_IMPGEMM_PARAMS
