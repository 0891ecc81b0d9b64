"""What every fusion neck promises, whatever its method."""

import pytest
import torch
from mmdet3d.registry import MODELS

from turbotrain.errors import SettingError
from turbotrain.structures import pose_to_matrix

RANGE = [-8.0, -8.0, -3.0, 8.0, 8.0, 1.0]
C, H, W = 8, 16, 16
WINDOWS = dict(windows=(2, 4), window_channels=(4, 4))
NECKS = dict(
    AttFuseFusion={},
    CoBEVFlowFusion=dict(channels=C - 2),
    DiscoNetFusion=dict(channels=C),
    FCooperFusion={},
    FFNetFusion=dict(channels=C // 2),
    HeterogeneousAttentionFusion=dict(channels=C, num_heads=2),
    V2VNetFusion=dict(channels=C),
    V2XPnPFusion=dict(channels=C, num_heads=2, **WINDOWS),
    V2XViTFusion=dict(channels=C, num_heads=2, depth=2, **WINDOWS),
    Where2commFusion=dict(channels=C, num_heads=2, threshold=0.1),
)
WITH_KINDS = ('HeterogeneousAttentionFusion', 'V2XPnPFusion', 'V2XViTFusion')
KINDS = torch.tensor([0, 0, 1, 1])
ALL = torch.ones(4, dtype=torch.bool)


@pytest.fixture(params=NECKS)
def neck(request) -> torch.nn.Module:
    return make(request.param)


def make(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    module = MODELS.build(dict(type=name, point_cloud_range=RANGE, **NECKS[name]))
    for key, parameter in module.named_parameters():
        if key.endswith('relation'):
            torch.nn.init.normal_(parameter, std=0.5)
    return module.eval()


def maps(count: int) -> torch.Tensor:
    return torch.randn(count, C, H, W, generator=torch.Generator().manual_seed(1))


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_the_order_of_the_other_agents_changes_nothing(neck):
    features, order = maps(4), torch.tensor([0, 3, 1, 2])
    late = torch.tensor([0.0, 0.1, 0.2, 0.4])
    close(
        neck(features[order], [4], KINDS[order], ALL, delays=late[order]),
        neck(features, [4], KINDS, ALL, delays=late),
    )


def test_all_agents_are_heard(neck):
    features = maps(4)
    together = neck(features, [4], KINDS, ALL)
    assert together.shape == (1, C - neck.flow_channels, H, W)
    for agent in range(4):
        changed = features.clone()
        changed[agent] *= -1.0
        assert (neck(changed, [4], KINDS, ALL) - together).abs().max() > 1e-3


def test_an_agent_without_a_cloud_is_as_if_it_were_absent(neck):
    features, valid = maps(4), torch.tensor([True, True, False, True])
    close(
        neck(features, [4], KINDS, valid),
        neck(features[valid], [3], KINDS[valid], ALL[:3]),
    )


def test_a_batch_is_its_samples(neck):
    features, kinds = maps(4), torch.tensor([0, 1, 1, 0])
    both = neck(features, [3, 1], kinds, ALL)
    close(both[:1], neck(features[:3], [3], kinds[:3], ALL[:3]))
    close(both[1:], neck(features[3:], [1], kinds[3:], ALL[3:]))


def test_other_agents_are_warped_into_the_ego_frame(neck):
    features = maps(2)
    far = torch.from_numpy(pose_to_matrix([[0] * 6, [100, 0, 0, 0, 0, 0]]))
    alone = neck(features[:1], [1], KINDS[:1], ALL[:1])
    assert torch.isfinite(alone).all() and alone.any()
    close(neck(features, [2], KINDS[:2], ALL[:2], far), alone)
    still = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    aligned = neck(features, [2], KINDS[:2], ALL[:2])
    close(neck(features, [2], KINDS[:2], ALL[:2], still), aligned, 1e-4)
    # One cell ahead: 1 m. The ego hears what the other has one cell further back.
    ahead = torch.from_numpy(pose_to_matrix([[0] * 6, [1, 0, 0, 0, 0, 0]]))
    rolled = features.clone()
    rolled[1] = torch.roll(features[1], 1, dims=-1)
    rolled[1, :, :, 0] = 0
    moved = neck(features, [2], KINDS[:2], ALL[:2], ahead)
    there = neck(rolled, [2], KINDS[:2], ALL[:2])
    # Away from the border, where nothing is seen; windows and convolutions carry it some cells.
    close(moved[..., 8:], there[..., 8:], 2e-2)


def test_turning_another_agent_changes_nothing(neck):
    """It looks to the left, and says so."""
    features = maps(2)
    turned = features.clone()
    turned[1] = torch.rot90(features[1], 1, dims=(1, 2))  # its (x, y) is the ego's (-y, x)
    if neck.flow_channels == 2:
        x, y = turned[1, -2].clone(), turned[1, -1].clone()
        turned[1, -2:] = torch.stack([y, -x])
    turn = torch.from_numpy(pose_to_matrix([[0] * 6, [0, 0, 0, 0, 90, 0]]))
    late = torch.tensor([0.0, 0.7])
    close(
        neck(turned, [2], KINDS[:2], ALL[:2], turn, delays=late),
        neck(features, [2], KINDS[:2], ALL[:2], torch.eye(4).repeat(2, 1, 1), delays=late),
        1e-4,
    )


@pytest.mark.parametrize('seen', [True, False])
def test_gradients_reach_every_parameter_and_nothing_is_nan(neck, seen):
    neck.train()
    features = maps(4).requires_grad_()
    late = torch.tensor([0.0, 0.1, 0.2, 0.4])
    out = neck(features, [4], KINDS, torch.full((4,), seen), delays=late)
    assert torch.isfinite(out).all()
    (out.square() * torch.rand_like(out)).sum().backward()
    assert torch.isfinite(features.grad).all()
    for name, parameter in neck.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
        assert not seen or parameter.grad.any(), name


def test_single_precision_is_enough(neck):
    features, late = maps(4), torch.tensor([0.0, 0.1, 0.2, 0.4])
    single = neck(features, [4], KINDS, ALL, delays=late)
    double = neck.double()(features.double(), [4], KINDS, ALL, delays=late.double())
    close(single, double.float(), 1e-4)


def test_mixed_precision_runs_and_trains(neck):
    features, late = maps(4).requires_grad_(), torch.tensor([0.0, 0.1, 0.2, 0.4])
    exact = neck(features, [4], KINDS, ALL, delays=late)
    with torch.autocast('cpu', torch.bfloat16):
        rough = neck(features, [4], KINDS, ALL, delays=late)
    assert (rough.float() - exact).abs().mean() < 0.05 * exact.abs().mean()
    rough.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in (features, *neck.parameters()))


def test_weights_and_maps_may_be_half_precise(neck):
    features, late = maps(4), torch.tensor([0.0, 0.1, 0.2, 0.4])
    exact = neck(features, [4], KINDS, ALL, delays=late)
    rough = neck.bfloat16()(features.bfloat16(), [4], KINDS, ALL, delays=late)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize('name', WITH_KINDS)
def test_kinds_of_agents_matter(name):
    neck, features = make(name), maps(2)
    outputs = [
        neck(features, [2], torch.tensor(kinds), ALL[:2])
        for kinds in ([0, 0], [0, 1], [1, 0], [1, 1])
    ]
    for i in range(4):
        for j in range(i):
            assert (outputs[i] - outputs[j]).abs().max() > 1e-3


@pytest.mark.parametrize('name', ['V2XViTFusion', 'FFNetFusion', 'CoBEVFlowFusion'])
def test_delays_matter(name):
    neck, features = make(name), maps(2)
    outputs = [
        neck(features, [2], KINDS[:2], ALL[:2], delays=torch.tensor([0.0, late]))
        for late in (0.0, 0.3)
    ]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    close(outputs[0], neck(features, [2], KINDS[:2], ALL[:2]))


def test_fcooper_and_attfuse_by_hand():
    features = maps(3)
    valid = torch.tensor([True, True, False])
    close(make('FCooperFusion')(features, [3], KINDS[:3], valid)[0], features[:2].amax(0))
    weights = (features[0] * features[:2]).sum(1).div(C**0.5).softmax(0)[:, None]
    close(
        make('AttFuseFusion')(features, [3], KINDS[:3], valid)[0], (weights * features[:2]).sum(0)
    )


def test_v2vnet_equals_its_pairwise_messages():
    neck, features = make('V2VNetFusion'), maps(3)
    state = [features[i : i + 1] for i in range(3)]
    for _ in range(3):
        messages = [
            torch.stack([neck.from_sender(x) + neck.from_receiver(own) for x in state]).mean(0)
            for own in state
        ]
        state = [neck.update(m, own) for m, own in zip(messages, state, strict=True)]
    close(neck(features, [3], KINDS[:3], ALL[:3]), neck.out(state[0]))


@pytest.mark.parametrize('valid', [[True, True, True], [False, True, True], [False] * 3])
def test_v2vnet_sums_maps_or_messages_alike(valid):
    """Where all see the same cells it takes the mean before the convolution, else behind it."""
    neck, features, valid = make('V2VNetFusion'), maps(3), torch.tensor(valid)
    still = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    before = neck(features, [3], KINDS[:3], valid)
    close(neck(features, [3], KINDS[:3], valid, still), before, 1e-4)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(num_agents=[2]), r'features: expected shape \(2, 8, .* for num_agents \[2\], got'),
        (dict(num_agents=[2, 2]), r'features: expected shape \(4, 8, 16, 16\) .* got \(3, 8,'),
        (dict(kinds=KINDS), r'kinds: expected shape \(3,\) .* got \(4,\)'),
        (dict(valid=ALL), r'valid: expected shape \(3,\) or \(3, 1, 16, 16\) .* got \(4,\)'),
        (dict(valid=ALL[:3, None, None].expand(3, H, W)), r'valid: .* got \(3, 16, 16\)'),
        (dict(ego_from_agent=torch.eye(4)), r'ego_from_agent: .* \(3, 4, 4\) .* got \(4, 4\)'),
        (dict(delays=torch.zeros(1)), r'delays: expected shape \(3,\) .* got \(1,\)'),
    ],
)
def test_what_is_not_of_all_agents_is_named(neck, changes, words):
    given = dict(num_agents=[2, 1], kinds=KINDS[:3], valid=ALL[:3])
    with pytest.raises(SettingError, match=words):
        neck(maps(3), **(given | changes))


@pytest.mark.parametrize('name', WITH_KINDS)
def test_heads_must_divide_channels(name):
    with pytest.raises(ValueError, match='multiple of num_heads'):
        MODELS.build(dict(type=name, point_cloud_range=RANGE) | NECKS[name] | dict(num_heads=3))


@pytest.mark.parametrize('name', ['HeterogeneousAttentionFusion', 'V2XPnPFusion', 'V2XViTFusion'])
def test_all_layers_are_residual(name):
    """Without what they add, the ego's map comes out as it went in."""
    neck, features = make(name), maps(3)
    for parameter in neck.parameters():
        parameter.data.zero_()
    close(neck(features, [3], KINDS[:3], ALL[:3])[0], features[0])


def test_disconet_by_hand():
    """Each agent has a weight at each cell, by its own map and the ego's."""
    neck, features = make('DiscoNetFusion'), maps(3)
    valid = torch.tensor([True, True, False])
    logits = torch.cat([neck.weight(torch.cat([features[i], features[0]])[None]) for i in (0, 1)])
    expected = (logits.softmax(0) * features[:2]).sum(0)
    close(neck(features, [3], KINDS[:3], valid)[0], expected)
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_disconets_batch_norm_counts_agents_alone():
    """Samples of a batch that have fewer agents leave places in its rectangle."""
    seen = []
    for sizes in ([3], [3, 1]):
        neck = make('DiscoNetFusion').train()
        neck(maps(4)[: sum(sizes)], sizes, KINDS[: sum(sizes)], ALL[: sum(sizes)])
        seen.append(neck.weight[0].bn.running_mean)
    pairs = torch.cat([maps(4), maps(4)[[0, 0, 0, 3]]], dim=1)
    mean = make('DiscoNetFusion').weight[0].conv(pairs).mean(dim=(0, 2, 3))
    close(seen[1], neck.weight[0].bn.momentum * mean)
    assert (seen[1] - seen[0]).abs().max() > 1e-4


def test_cells_that_were_not_sent_are_moved_with_the_map():
    """Three cells ahead; only the left half of the other's map was sent."""
    neck, features = make('FCooperFusion'), maps(2)
    sent = torch.ones(2, 1, H, W, dtype=torch.bool)
    sent[1, :, :, W // 2 :] = False
    poses = torch.from_numpy(pose_to_matrix([[0.0] * 6, [3.0, 0, 0, 0, 0, 0]]))
    expected = features[0].clone()
    arrived = slice(3, 3 + W // 2)
    expected[:, :, arrived] = torch.maximum(expected[:, :, arrived], features[1, :, :, : W // 2])
    close(neck(features, [2], KINDS[:2], sent, poses)[0], expected, 1e-4)
