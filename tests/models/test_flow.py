"""Late messages: what changes is sent along, and what has moved is put where it is now."""

import pytest
import torch

from turbotrain.models import (
    CoBEVFlowFusion,
    FFNetFusion,
    FlowTemporalNeck,
    warp_by_flow,
)

RANGE = [-8.0, -8.0, -3.0, 8.0, 8.0, 1.0]
C, H, W = 8, 16, 16
KINDS = torch.tensor([0, 1])
ALL = torch.ones(2, dtype=torch.bool)


def cells() -> torch.Tensor:
    """(2, H, W) x and y of the cells' centres, m."""
    y, x = torch.meshgrid(torch.arange(H) - 7.5, torch.arange(W) - 7.5, indexing='ij')
    return torch.stack([x, y])


def bump(place: torch.Tensor, width: float = 1.5) -> torch.Tensor:
    """(..., 2) m to maps (..., H, W) with a bump there."""
    distance = (cells() - place[..., None, None]).square().sum(dim=-3)
    return (-distance / (2 * width**2)).exp()


NORM = dict(type='BN2d', momentum=0.1)


def temporal(flow_channels: int = C, **options) -> FlowTemporalNeck:
    torch.manual_seed(0)
    shared = dict(channels=C, point_cloud_range=RANGE, norm_cfg=NORM)
    inner = dict(type='TemporalAttentionNeck', num_heads=2, **shared)
    options = dict(hidden_channels=16) | options
    return FlowTemporalNeck(
        flow_channels=flow_channels, temporal_neck=inner, **shared, **options
    ).eval()


def maps(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, C, H, W, generator=torch.Generator().manual_seed(1))


def times(s: int, t: int) -> torch.Tensor:
    return torch.arange(1 - t, 1).mul(0.5).expand(s, -1)


def test_warping_by_a_flow_takes_cells_from_where_they_were():
    place, x = torch.tensor([1.3, -0.6]), cells()
    turn = torch.tensor([[0.9, -0.3], [0.25, 1.1]])
    sources = torch.einsum('ab,bhw->ahw', turn, x) + torch.tensor([0.7, -1.2])[:, None, None]
    warped, seen = warp_by_flow(bump(place, 2.5)[None, None], (x - sources)[None], RANGE)

    def exact(shift: float) -> torch.Tensor:
        return (-(sources - place[:, None, None] - shift).square().sum(0) / (2 * 2.5**2)).exp()

    inside = (sources.abs() <= 8).all(dim=0)
    assert torch.equal(seen[0, 0], inside) and not inside.all()
    assert not warped[0, 0][~inside].any()
    centres = (sources.abs() <= 7.5).all(dim=0)
    assert ((warped[0, 0] - exact(0)).abs() * centres).max() < 0.04
    # The tolerance would notice half a cell.
    assert ((exact(0.5) - exact(0)).abs() * centres).max() > 0.1


def test_half_precision_keeps_places():
    features, moved = maps(1), torch.full((1, 2, H, W), 0.4)
    exact, _ = warp_by_flow(features, moved, RANGE)
    rough, _ = warp_by_flow(features.bfloat16(), moved, RANGE)
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.02)


@pytest.mark.parametrize('flow_channels', [2, C])
def test_the_map_is_the_inner_necks_and_the_flow_is_per_second(flow_channels):
    neck, features = temporal(flow_channels), maps(2, 3)
    valid = torch.ones(2, 3, dtype=torch.bool)
    found = neck(features, times(2, 3), valid)
    assert found.shape == (2, C + flow_channels, H, W)
    torch.testing.assert_close(
        found[:, :C], neck.temporal_neck(features, times(2, 3), valid), atol=1e-5, rtol=1e-5
    )
    slower = neck(features, 2 * times(2, 3), valid)
    assert found[:, C:].abs().max() > 0.01
    torch.testing.assert_close(2 * slower[:, C:], found[:, C:])


def test_the_flow_is_from_the_newest_earlier_frame_that_sees_a_cell():
    neck, features, when = temporal(dilations=(1,)), maps(1, 3), times(1, 3)
    valid = torch.tensor([[True, False, True]])
    without = neck(features[:, [0, 2]], when[:, [0, 2]], valid[:, [0, 2]])
    torch.testing.assert_close(neck(features, when, valid), without, atol=1e-5, rtol=1e-5)
    for nothing in ([False, False, True], [True, True, False]):
        assert not neck(features, when, torch.tensor([nothing]))[:, C:].any()
    # A frame that sees the left half only leaves the right one to an older frame.
    seen = torch.ones(1, 3, 1, H, W, dtype=torch.bool)
    seen[:, 1, ..., W // 2 :] = False
    found = neck.fuse(features, when, seen)[:, C:]
    left = neck(features, when, torch.ones(1, 3, dtype=torch.bool))[:, C:]
    torch.testing.assert_close(found[..., 0], left[..., 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[..., -1], without[:, C:, :, -1], atol=1e-5, rtol=1e-5)
    assert (left[..., -1] - found[..., -1]).abs().max() > 1e-3


class Stays(torch.nn.Module):
    """A temporal neck that looks at the current frame alone."""

    def fuse(self, features, time_offsets, seen):
        return features[:, -1]


@pytest.mark.parametrize('content', [100.0, torch.nan])
def test_a_frame_that_sees_nothing_says_nothing_whatever_it_holds(content):
    """The oldest is missing: cells that the newer one does not see have no earlier frame."""
    neck, features, when = temporal(), maps(1, 3), times(1, 3)
    neck.temporal_neck = Stays()
    seen = torch.ones(1, 3, 1, H, W, dtype=torch.bool)
    seen[:, 0] = seen[:, 1, ..., W // 2 :] = False
    expected = neck.fuse(features, when, seen)[:, C:]
    assert expected[..., W // 2 - 1].any() and not expected[..., W // 2 :].any()
    features[:, 0] = features[:, 1, ..., W // 2 :] = content
    assert torch.equal(neck.fuse(features, when, seen)[:, C:], expected)


def test_a_missing_frame_of_the_current_time_has_no_flow_and_no_gradient():
    neck, features = temporal(), maps(1, 2)
    valid = torch.tensor([[False, True]])
    found = neck(features, torch.zeros(1, 2), valid)
    assert torch.isfinite(found).all() and not found[:, C:].any()
    found.square().sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in neck.parameters())


def test_flow_gradients_reach_every_parameter():
    neck = temporal().train()
    neck(maps(2, 3), times(2, 3), torch.ones(2, 3, dtype=torch.bool)).square().sum().backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad.any(), name


def test_ffnet_by_hand():
    torch.manual_seed(0)
    neck, features = FFNetFusion(C, RANGE).eval(), torch.cat([maps(3), maps(3).flip(0)], dim=1)
    late = torch.tensor([0.0, 0.2, 0.5])
    now = features[:, :C] + late[:, None, None, None] * features[:, C:]
    expected = neck.join(torch.cat([now[:1], now[1:].amax(dim=0, keepdim=True)], dim=1))
    kinds, all_three = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.bool)
    torch.testing.assert_close(neck(features, [3], kinds, all_three, delays=late), expected)


@pytest.mark.parametrize('posed', [False, True])
def test_cobevflow_moves_late_maps_by_their_own_delay(posed):
    still, ahead = torch.full((1, C, H, W), -0.5), maps(1)
    speed = torch.tensor([2.0, -4.0])[None, :, None, None].expand(2, 2, H, W)
    features = torch.cat([torch.cat([still, ahead]), speed], dim=1)
    late = torch.tensor([0.0, 0.5])  # 1 cell ahead, 2 to the right
    pose = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1) if posed else None
    found = CoBEVFlowFusion(C, RANGE)(features, [2], KINDS, ALL, pose, late)
    expected = still.clone()  # also where something from outside would have come
    expected[..., :-2, 1:] = ahead[..., 2:, :-1].clamp(min=-0.5)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_other_maps_are_refused():
    for neck in (FFNetFusion(C, RANGE), CoBEVFlowFusion(C, RANGE)):
        with pytest.raises(ValueError, match='FlowTemporalNeck'):
            neck(maps(2), [2], KINDS, ALL)
    with pytest.raises(ValueError, match='two frames'):
        temporal()(maps(2, 1), times(2, 1), torch.ones(2, 1, dtype=torch.bool))


@pytest.mark.parametrize(
    ('fusion', 'flow_channels', 'share'), [(FFNetFusion, C, 0.6), (CoBEVFlowFusion, 2, 0.3)]
)
def test_learns_to_compensate_delays(fusion, flow_channels, share):
    """Something moves; the ego, who does not see it, is to say where it is now."""
    torch.manual_seed(0)
    norm = dict(norm_cfg=NORM) if fusion is FFNetFusion else {}
    network = torch.nn.ModuleDict(
        dict(
            time=temporal(flow_channels),
            agents=fusion(C, RANGE, **norm),
            out=torch.nn.Conv2d(C, 1, 1),
        )
    ).train()
    steps = 150
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps)

    def draw(count: int) -> tuple[torch.Tensor, ...]:
        place, speed = (torch.rand(2, count, 2) - 0.5) * 8
        late = torch.rand(count) * 0.5
        when = -late[:, None] + times(count, 2)
        seen = bump(place[:, None] + when[..., None] * speed[:, None])
        frames = torch.zeros(count, 2, 2, C, H, W)  # sample, agent, time
        frames[:, 1] = seen[:, :, None]
        delays = torch.stack([torch.zeros(count), late], dim=1)
        return frames.flatten(0, 1), delays.flatten(), bump(place)

    def loss(frames: torch.Tensor, delays: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        n = len(target)
        sent = network['time'](frames, times(2 * n, 2), ALL.new_ones(2 * n, 2))
        fused = network['agents'](sent, [2] * n, KINDS.repeat(n), ALL.repeat(n), delays=delays)
        return (network['out'](fused)[:, 0] - target).square().mean()

    for _ in range(steps):
        optimizer.zero_grad()
        loss(*draw(8)).backward()
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        frames, delays, target = draw(32)
        error = loss(frames, delays, target)
        assert error < share * loss(frames, torch.zeros_like(delays), target)
        assert error < share * (frames[1::2, 1, 0] - target).square().mean()
