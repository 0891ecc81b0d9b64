import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from tests.models.roads import road_maps
from turbotrain.models import TrajectoryHead, VectorMaps
from turbotrain.models.heads import Motion
from turbotrain.structures import drive_along_lanes, driving_lanes

SCHEDULES = Path(__file__).resolve().parents[2] / 'configs/_base_/schedules'
RANGE = [-16.0, -16.0, -3.0, 16.0, 16.0, 1.0]
TIMES = 0.5 * torch.arange(1.0, 7.0)


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


def speeds(count: int) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(5)) * 4


def motions(*velocities: torch.Tensor, moving: bool = True) -> list[Motion]:
    moves = [torch.full(v.shape[:1], moving) for v in velocities]
    return [
        Motion(v, torch.zeros_like(v), going, v.new_zeros(len(v), 0))
        for v, going in zip(velocities, moves, strict=True)
    ]


def driven(box: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor:
    """(M, F, 2) positions at a constant velocity."""
    return box[:, None, :2] + TIMES[:, None] * velocity[:, None]


def arcs(count: int) -> VectorMaps:
    """For each sample a driving lane from the origin along x that bends to the left."""
    angle = torch.arange(0.0, 1.6, 0.1)
    lines = torch.zeros(count, 1, len(angle), 7)
    lines[..., 0], lines[..., 1] = 10 * angle.sin(), 10 - 10 * angle.cos()
    lines[..., 3], lines[..., 4] = angle.cos(), angle.sin()
    lines[..., 6] = 1.0
    return VectorMaps(lines, torch.ones(lines.shape[:3]).bool())


def everything(count: int) -> list[torch.Tensor]:
    return [torch.ones(count, 6, dtype=torch.bool)]


def trained(head: TrajectoryHead) -> TrajectoryHead:
    torch.nn.init.normal_(head.residual.weight, std=0.3)
    torch.nn.init.normal_(head.residual.bias)
    return head.eval()


def learn(head: TrajectoryHead, steps: int, batch) -> list[float]:
    """Train on batches ``(bev, boxes, velocities, futures, maps)``; the losses of the paths."""
    optimizer, history = torch.optim.Adam(head.parameters(), lr=3e-3), []
    for _ in range(steps):
        bev, box, velocity, future, maps = batch()
        count = len(box)
        losses = head.loss(
            bev, [box], [labels(count)], [future], everything(count), motions(velocity), maps
        )
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append(losses['loss_trajectory'].item())
    return history


def test_untrained_it_drives_on_at_the_velocity_that_is_given():
    given, velocity = boxes(5), speeds(5)
    (paths,), (scores,) = make_head()(
        torch.randn(1, 4, 32, 32), [given], [labels(5)], motions(velocity)
    )
    torch.testing.assert_close(paths, driven(given, velocity)[:, None])
    assert scores.shape == (5, 1)
    ((still,), _) = make_head()(torch.randn(1, 4, 32, 32), [given], [labels(5)])
    torch.testing.assert_close(still, driven(given, 0 * velocity)[:, None])


@pytest.mark.parametrize('modes', [1, 3])
def test_untrained_it_follows_lanes_where_it_is_told_to(modes):
    """Each mode at its own pace; and straight on without a map."""
    head = make_head(num_modes=modes, follow_lanes=True)
    assert head.needs_map and not make_head().needs_map
    velocity, bev = torch.tensor([[6.0, 0.0], [0.0, 6.0], [0.5, 0.0]]), torch.randn(2, 4, 32, 32)
    given = boxes(3)
    given[:, :2] = 0
    paces = torch.linspace(0.5, 1.5, modes)[:, None] if modes > 1 else torch.ones(1, 1)
    told = motions(velocity[:1], velocity)
    found, _ = head(bev, [given[:1], given], [labels(1), labels(3)], told, arcs(2))
    lanes = driving_lanes(*arcs(1))
    for box, own, paths in zip((given[:1], given), (velocity[:1], velocity), found, strict=True):
        for pace, path in zip(paces, paths.unbind(1), strict=True):
            expected = drive_along_lanes(box[None, :, :2], pace * own[None], lanes, TIMES.tolist())
            torch.testing.assert_close(path, expected[0])
    assert (found[1][0, 0] - driven(given, paces[0] * velocity)[0]).norm(dim=-1).max() > 0.5
    (_, plain), _ = head(bev, [given[:1], given], [labels(1), labels(3)], told)
    torch.testing.assert_close(plain[:, 0], driven(given, paces[0] * velocity))


def test_accelerations_count_along_the_way():
    """Across the way they count for nothing: what turns follows its lane, or goes straight on."""
    head, velocity = make_head(), torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    given, bev = boxes(3), torch.randn(1, 4, 32, 32)
    given[:, :2] = 0
    (told,) = motions(velocity)
    told = told._replace(acceleration=torch.tensor([[2.0, 0.0], [0.0, 5.0], [1.0, -4.0]]))
    ((paths,), _) = head(bev, [given], [labels(3)], [told])
    ends = paths[:, 0, -1]
    assert ends[0, 0] > 12 + 5 and not ends[0, 1]
    torch.testing.assert_close(ends[1], torch.tensor([12.0, 0.0]))
    assert 0 < ends[2, 1] < 6 and not ends[2, 0]


def test_what_is_thought_to_stand_stands_exactly():
    head, given = trained(make_head(follow_lanes=True)), boxes(6)
    bev = torch.randn(1, 4, 32, 32)
    for moves in (False, True):
        told = motions(speeds(6), moving=moves)
        ((paths, scores),) = head.predict(bev, [given], [labels(6)], told, arcs(1))
        assert ((paths == given[:, None, None, :2]).all() == (not moves)).item()
        torch.testing.assert_close(scores, torch.ones(6, 1))


@pytest.mark.parametrize('modes', [1, 3])
def test_no_path_depends_on_which_way_the_box_points(modes):
    """Detectors take the rear for the front, and hardly know the headings of pedestrians."""
    settings = dict(follow_lanes=True, map_attention=dict(embed_channels=16))
    head = trained(make_head(num_modes=modes, **settings))
    given, bev, maps = boxes(6), torch.randn(1, 4, 32, 32), road_maps()
    before = head.predict(bev, [given], [labels(6)], motions(speeds(6)), maps)[0]
    for turn in (math.pi, 0.7):
        turned = given.clone()
        turned[:, 6] += turn
        after = head.predict(bev, [turned], [labels(6)], motions(speeds(6)), maps)[0]
        for a, b in zip(after, before, strict=True):
            torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_paths_turn_with_the_scene():
    """By a quarter at a time, which maps can be turned by without a rest."""
    head, given, velocity = trained(make_head()), boxes(6), speeds(6)
    velocity = velocity * (1 + 1 / velocity.norm(dim=1, keepdim=True))  # all of them move
    bev = torch.randn(1, 4, 32, 32)
    before = head.predict(bev, [given], [labels(6)], motions(velocity))[0][0]
    quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    for _ in range(3):
        bev, given, velocity = bev.rot90(-1, (2, 3)), given.clone(), velocity @ quarter
        given[:, :2], before = given[:, :2] @ quarter, before @ quarter
        after = head.predict(bev, [given], [labels(6)], motions(velocity))[0][0]
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('schedule', ['finetune_mini', 'benchmark_mini'])
def test_small_gradients_do_not_cost_the_head_its_weights(schedule):
    """Adam takes a weight's decay for a gradient, and would make steps of full length of it."""
    cfg = Config.fromfile(SCHEDULES / f'{schedule}.py').optim_wrapper
    model = torch.nn.ModuleDict({'trajectory_head': torch.nn.Linear(8, 8)})
    weight = model.trajectory_head.weight
    start = weight.detach().clone()
    parts = {key: cfg[key] for key in ('optimizer', 'paramwise_cfg')}
    wrapper = build_optim_wrapper(model, {'type': 'OptimWrapper', **parts})
    for _ in range(500):
        weight.grad = 1e-9 * torch.randn(8, 8)
        wrapper.optimizer.step()
    assert (weight * start).sum() > 0.5 * start.square().sum()


def test_batches_and_samples_without_boxes():
    head, given, velocity = trained(make_head()), boxes(7), speeds(7)
    bev = torch.randn(3, 4, 32, 32)
    parts = [given[:5], given[:0], given[5:]]
    going = motions(velocity[:5], velocity[:0], velocity[5:])
    together, *_ = head(bev, parts, [labels(5), labels(0), labels(2)], going)
    assert [len(p) for p in together] == [5, 0, 2]
    ((alone,), *_) = head(bev[2:], [given[5:]], [labels(2)], motions(velocity[5:]))
    torch.testing.assert_close(together[2], alone, atol=1e-5, rtol=1e-5)
    ((none,), *_) = head(bev[:1], [given[:0]], [labels(0)])
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
        assert len(losses) == (1 if modes == 1 else 2)
        for loss in losses.values():
            assert loss == 0
            loss.backward(retain_graph=True)


def test_errors_count_by_their_logarithm():
    """Untrained and without velocities, paths stand still: objects 5 m away have errors of 5 m."""
    head, given = make_head(position_noise=0.0), boxes(4)
    future = given[:, None, :2] + torch.tensor([3.0, 4.0]) * torch.ones(6, 1)
    bev = torch.randn(1, 4, 32, 32)
    whole = head.loss(bev, [given], [labels(4)], [future], everything(4))
    assert whole['loss_trajectory'].item() == pytest.approx(math.log(6), abs=1e-4)
    future[0] = given[0, :2] + torch.tensor([30.0, 40.0])
    fast = head.loss(bev, [given], [labels(4)], [future], everything(4))
    assert fast['loss_trajectory'].item() == pytest.approx(
        (3 * math.log(6) + math.log(51)) / 4, abs=1e-4
    )


@pytest.mark.parametrize('unknown', [1e6, math.nan])
def test_unknown_steps_do_not_count(unknown):
    head, given = make_head(position_noise=0.0), boxes(4)
    future = given[:, None, :2] + torch.tensor([3.0, 4.0]) * torch.ones(6, 1)
    bev, valid = torch.randn(1, 4, 32, 32), everything(4)
    whole = head.loss(bev, [given], [labels(4)], [future], valid)
    valid[0][:, 3:] = False
    future[:, 3:] = unknown
    part = head.loss(bev, [given], [labels(4)], [future], valid)
    for name, loss in whole.items():
        torch.testing.assert_close(part[name], loss)
    sum(part.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())


def test_it_learns_speed_from_a_trail_without_being_told_the_velocity():
    """The map shows where each object was half a second ago; the head must go on from there."""
    offsets = (-4.0, -2.0, 0.0, 2.0)
    head = make_head(ahead=offsets, beside=offsets, dropout=0.0, sampled_dropout=0.0)
    generator = torch.Generator().manual_seed(0)

    def batch() -> tuple:
        box = torch.zeros(6, 7)
        box[:, 0] = torch.randint(-4, 4, (6,), generator=generator)
        box[:, 1] = torch.arange(-12.5, 12.5, 25 / 6)
        box[:, 3:6] = torch.tensor([4.0, 2.0, 1.5])
        speed = torch.randint(0, 3, (6,), generator=generator) * 2.0
        bev = torch.zeros(1, 4, 32, 32)
        bev[0, 0, (box[:, 1] + 16).long(), (box[:, 0] + 16 - speed).long()] = 5.0
        velocity = torch.stack([2 * speed, 0 * speed], dim=-1)
        return bev, box, 0 * velocity, driven(box, velocity), None

    history = learn(head, 250, batch)
    assert sum(history[-20:]) < 0.45 * sum(history[:20])


def at_a_fork(head: TrajectoryHead, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Train on objects of which 3 in 4 go left and 1 goes right, whatever the map says."""
    generator = torch.Generator().manual_seed(0)
    bev, box = torch.zeros(1, 4, 32, 32), boxes(16)
    velocity = torch.tensor([4.0, 0.0]).expand(16, 2)

    def batch() -> tuple:
        left = torch.rand(16, generator=generator) < 0.75
        side = torch.where(left, 2.0, -2.0)
        to = torch.stack([torch.full_like(side, 4.0), side], dim=-1)
        return bev, box, velocity, driven(box, to), None

    learn(head, steps, batch)
    (found,) = head.eval().predict(bev, [box], [labels(16)], motions(velocity))
    return found[0] - box[:, None, None, :2], found[1]


@torch.no_grad()
def ends_of(paths: torch.Tensor) -> torch.Tensor:
    return paths[:, :, -1]


def test_modes_part_at_a_fork_and_their_scores_know_how_often():
    exact = dict(position_noise=0.0, dropout=0.0, sampled_dropout=0.0)
    paths, scores = at_a_fork(make_head(num_modes=3, **exact), steps=400)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(16))
    left, right = torch.tensor([12.0, 6.0]), torch.tensor([12.0, -6.0])
    to_left = (ends_of(paths) - left).norm(dim=-1)
    to_right = (ends_of(paths) - right).norm(dim=-1)
    assert to_left.amin(dim=1).max() < 1.0
    assert to_right.amin(dim=1).max() < 1.0
    assert ((scores * (to_left < 1.0)).sum(dim=1) - 0.75).abs().max() < 0.2
    # One mode can but go between the two.
    single, _ = at_a_fork(make_head(**exact), steps=200)
    assert (ends_of(single) - right).norm(dim=-1).amin() > 3.0


def test_the_nearest_mode_alone_is_regressed():
    """Untrained, the three modes drive at half, the whole and one and a half of the velocity."""
    head, given, velocity = make_head(num_modes=3, position_noise=0.0), boxes(4), speeds(4)
    future = driven(given, 1.4 * velocity)
    losses = head.loss(
        torch.randn(1, 4, 32, 32), [given], [labels(4)], [future], everything(4), motions(velocity)
    )
    expected = (0.1 * TIMES * velocity.norm(dim=-1, keepdim=True)).log1p().mean()
    assert losses['loss_trajectory'].item() == pytest.approx(expected.item(), abs=1e-3)
    losses['loss_trajectory'].backward()
    of_mode = head.residual.bias.grad.view(3, -1).abs().sum(dim=1)
    assert of_mode[2] > 0
    assert not of_mode[:2].any()


@pytest.mark.parametrize('count', [0, 3])
def test_without_a_map_it_forecasts_as_if_it_never_looked(count):
    head, plain = trained(make_head(map_attention=dict(embed_channels=16))), make_head().eval()
    plain.load_state_dict(head.state_dict(), strict=False)
    bev, given = torch.randn(2, 4, 32, 32), [boxes(count), boxes(5)]
    expected, *_ = plain(bev, given, [labels(count), labels(5)])
    nothing = VectorMaps(torch.zeros(2, 0, 10, 7), torch.zeros(2, 0, 10, dtype=torch.bool))
    for maps in (None, nothing):
        found, *_ = head(bev, given, [labels(count), labels(5)], vector_maps=maps)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize('speed', [0.0, 6.0])
def test_lanes_are_seen_from_where_a_box_goes(speed):
    """A world that is turned, lanes and all, is forecast alike; boxes that stand look along x."""
    head = make_head(map_attention=dict(embed_channels=16)).eval()
    torch.nn.init.normal_(head.residual.weight)
    bev, box = torch.zeros(1, 4, 32, 32), boxes(5)
    heading = torch.arange(5.0)
    velocity = speed * torch.stack([heading.cos(), heading.sin()], dim=-1)
    quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])  # rows turned by 90 degrees
    maps = arcs(1)
    lines = maps.polylines.clone()
    for at in (slice(0, 2), slice(3, 5)):
        lines[..., at] = maps.polylines[..., at] @ quarter
    turned = torch.cat([box[:, :2] @ quarter, box[:, 2:]], dim=1)
    given = [labels(5)]
    (before,), _ = head(bev, [box], given, motions(velocity), maps)
    (after,), _ = head(
        bev, [turned], given, motions(velocity @ quarter), VectorMaps(lines, maps.mask)
    )
    same = torch.allclose(before @ quarter, after, atol=1e-4)
    assert same == (speed > 0)


def test_it_learns_to_follow_the_lane():
    """The map alone says where a box goes: along the lane that is under it."""
    head = make_head(map_attention=dict(embed_channels=32, num_polylines=1), position_noise=0.0)
    generator = torch.Generator().manual_seed(0)
    bev, box = torch.zeros(1, 4, 32, 32), boxes(8)

    def batch() -> tuple:
        angle = 2 * math.pi * torch.rand(8, generator=generator)
        ahead = torch.stack([angle.cos(), angle.sin()], dim=-1)
        lines = torch.zeros(1, 8, 10, 7)
        lines[0, ..., :2] = box[:, None, :2] + torch.arange(-4.0, 6.0)[:, None] * ahead[:, None]
        lines[0, ..., 3:5] = ahead[:, None]
        lines[..., 6] = 1.0
        maps = VectorMaps(lines, torch.ones(1, 8, 10).bool())
        return bev, box, 0 * ahead, driven(box, 2 * ahead), maps

    history = learn(head, 250, batch)
    assert sum(history[-20:]) < 0.4 * sum(history[:20])


def test_places_are_exact_in_half_precision():
    """A ramp, whose every value is exact, is read where the boxes are."""
    head, given = make_head(), boxes(6)
    ramp = torch.arange(32.0).expand(1, 4, 32, 32)
    axes = torch.tensor([1.0, 0.0]).expand(1, 6, 2)
    exact = head._sample(ramp, given[None], axes)
    half = head._sample(ramp.bfloat16(), given[None], axes)
    torch.testing.assert_close(half, exact.bfloat16(), atol=0, rtol=0)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(head._sample(ramp, given[None], axes), exact, atol=0, rtol=0)
