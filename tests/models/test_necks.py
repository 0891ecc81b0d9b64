import pytest
import torch

from projects.TurboTrain.turbotrain.models import (
    HeterogeneousAttentionFusion,
    TemporalAttentionNeck,
)
from projects.TurboTrain.turbotrain.structures import pose_to_matrix

RANGE = [-8.0, -8.0, -3.0, 8.0, 8.0, 1.0]
C, H, W = 8, 16, 16


def fusion() -> HeterogeneousAttentionFusion:
    torch.manual_seed(0)
    neck = HeterogeneousAttentionFusion(C, RANGE, num_heads=2)
    torch.nn.init.normal_(neck.relation, std=0.5)
    return neck.eval()


def temporal() -> TemporalAttentionNeck:
    torch.manual_seed(0)
    return TemporalAttentionNeck(C, RANGE, num_heads=2).eval()


def maps(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, C, H, W, generator=torch.Generator().manual_seed(1))


KINDS = torch.tensor([0, 0, 1, 1])
ALL = torch.ones(4, dtype=torch.bool)


def test_the_order_of_the_other_agents_changes_nothing():
    neck, features = fusion(), maps(4)
    order = torch.tensor([0, 3, 1, 2])
    torch.testing.assert_close(
        neck(features[order], [4], KINDS[order], ALL),
        neck(features, [4], KINDS, ALL),
        atol=1e-5,
        rtol=1e-5,
    )


def test_an_agent_without_a_cloud_is_as_if_it_were_absent():
    neck, features = fusion(), maps(4)
    valid = torch.tensor([True, True, False, True])
    torch.testing.assert_close(
        neck(features, [4], KINDS, valid),
        neck(features[valid], [3], KINDS[valid], ALL[:3]),
        atol=1e-5,
        rtol=1e-5,
    )


def test_a_batch_is_its_samples():
    neck, features = fusion(), maps(4)
    kinds = torch.tensor([0, 1, 1, 0])
    both = neck(features, [3, 1], kinds, ALL)
    torch.testing.assert_close(both[:1], neck(features[:3], [3], kinds[:3], ALL[:3]))
    torch.testing.assert_close(both[1:], neck(features[3:], [1], kinds[3:], ALL[3:]))


def test_kinds_of_agents_matter():
    neck, features = fusion(), maps(2)
    as_vehicle = neck(features, [2], torch.tensor([0, 0]), ALL[:2])
    as_roadside = neck(features, [2], torch.tensor([0, 1]), ALL[:2])
    assert (as_vehicle - as_roadside).abs().max() > 1e-2


def test_other_agents_are_warped_into_the_ego_frame():
    neck, features = fusion(), maps(2)
    far = torch.from_numpy(pose_to_matrix([[0] * 6, [100, 0, 0, 0, 0, 0]]))
    alone = neck(features[:1], [1], KINDS[:1], ALL[:1])
    torch.testing.assert_close(neck(features, [2], KINDS[:2], ALL[:2], far), alone)
    still = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    torch.testing.assert_close(
        neck(features, [2], KINDS[:2], ALL[:2], still),
        neck(features, [2], KINDS[:2], ALL[:2]),
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize('seen', [True, False])
def test_gradients_reach_every_parameter_and_nothing_is_nan(seen):
    neck = fusion().train()
    out = neck(maps(4), [4], KINDS, torch.full((4,), seen))
    assert torch.isfinite(out).all()
    out.square().sum().backward()
    for name, parameter in neck.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert not seen or parameter.grad.any(), name


def times(s: int, t: int) -> torch.Tensor:
    return torch.arange(1 - t, 1).mul(0.5).expand(s, -1)


def test_frames_that_are_missing_change_nothing():
    neck, features = temporal(), maps(3, 4)
    valid = torch.tensor([[False, True, False, True]]).expand(3, -1)
    torch.testing.assert_close(
        neck(features, times(3, 4), valid),
        neck(features[:, [1, 3]], times(3, 4)[:, [1, 3]], valid[:, [1, 3]]),
        atol=1e-5,
        rtol=1e-5,
    )


def test_frames_are_told_apart_by_their_time_and_not_by_their_place():
    neck, features, when = temporal(), maps(2, 3), times(2, 3)
    valid = torch.ones(2, 3, dtype=torch.bool)
    swapped = neck(features[:, [1, 0, 2]], when[:, [1, 0, 2]], valid)
    torch.testing.assert_close(swapped, neck(features, when, valid), atol=1e-5, rtol=1e-5)
    later = neck(features, when * 2, valid)
    assert (later - swapped).abs().max() > 1e-3


def test_ego_motion_is_compensated():
    neck = temporal()
    now = maps(1, 1)
    shifted = torch.zeros_like(now)
    shifted[..., :-2] = now[..., 2:]  # the agent has come 2 m (2 cells) forward since
    features = torch.cat([torch.roll(now, 2, -1), now], dim=1)
    motion = torch.from_numpy(pose_to_matrix([[-2, 0, 0, 0, 0, 0], [0] * 6]))[None]
    valid = torch.ones(1, 2, dtype=torch.bool)
    aligned = neck(features, times(1, 2), valid, motion)
    expected = neck(torch.cat([now, now], dim=1), times(1, 2), valid)
    inner = (..., slice(None), slice(3, 13))
    torch.testing.assert_close(aligned[inner], expected[inner], atol=1e-3, rtol=1e-3)


def test_temporal_gradients_reach_every_parameter():
    neck = temporal().train()
    neck(maps(2, 3), times(2, 3), torch.ones(2, 3, dtype=torch.bool)).square().sum().backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad.any(), name


@pytest.mark.parametrize('kind', [HeterogeneousAttentionFusion, TemporalAttentionNeck])
def test_heads_must_divide_channels(kind):
    with pytest.raises(ValueError, match='multiple of num_heads'):
        kind(10, RANGE, num_heads=4)
