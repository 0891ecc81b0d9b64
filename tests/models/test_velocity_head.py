import math

import pytest
import torch
from mmengine.structures import InstanceData

from turbotrain.errors import SettingError
from turbotrain.models import VelocityHead
from turbotrain.models.headings import head_along, head_with_traffic
from turbotrain.models.heads.matching import StepMatcher
from turbotrain.models.heads.squares import turned, turned_vectors
from turbotrain.models.occupancy import likeness

RANGE = [-16.0, -16.0, -3.0, 16.0, 16.0, 1.0]


def make_head(**kwargs) -> VelocityHead:
    torch.manual_seed(0)
    head = VelocityHead(3, 2, RANGE, crop_cells=17, refine_cells=9, feat_channels=32, **kwargs)
    torch.nn.init.normal_(head.rest.weight, std=0.3)
    return head


def scene(seed: int, count: int = 12) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Poles that go somewhere, at two times half a second apart; their boxes and velocities."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randperm(25, generator=generator)[:count]
    centre = torch.stack([cells % 5, cells // 5], dim=1) * 5.6 - 11.2
    velocity = torch.randint(-1, 2, (count, 2), generator=generator) * 2.0
    z = torch.linspace(-1.6, -0.4, 8).repeat(count)[:, None]
    now = centre.repeat_interleave(8, 0)
    before = (centre - 0.5 * velocity).repeat_interleave(8, 0)
    clouds = [torch.cat([at, z, z], dim=1) for at in (before, now)]
    size = torch.tensor([-2.0, 0.6, 0.6, 1.8, 0.0]).expand(count, 5)
    return clouds, torch.cat([centre, size], dim=1), velocity


def maps_of(head: VelocityHead, clouds: list[torch.Tensor]):
    return head.look(clouds, None, torch.zeros(1, dtype=torch.long), 1)


def truth_of(box: torch.Tensor, velocity: torch.Tensor, known: bool = True) -> InstanceData:
    mask = torch.full((len(box), 6), known)
    return InstanceData(
        velocity=velocity,
        velocity_valid=mask[:, 0],
        acceleration=torch.zeros_like(velocity),
        acceleration_valid=mask[:, 0],
        future_trajectories=box[:, None, :2]
        + 0.5 * torch.arange(1, 7)[:, None] * velocity[:, None],
        future_valid=mask,
    )


def learn(head: VelocityHead, steps: int) -> None:
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for step in range(steps):
        clouds, box, velocity = scene(step)
        losses, _ = head.loss_and_predict(
            maps_of(head, clouds),
            [box],
            [torch.zeros(len(box), dtype=torch.long)],
            [truth_of(box, velocity)],
        )
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()


def test_it_learns_from_few_scenes_how_objects_move():
    head = make_head()
    learn(head, 100)
    clouds, box, velocity = scene(1000)
    labels = torch.zeros(len(box), dtype=torch.long)
    with torch.no_grad():
        (found,) = head.eval().predict(maps_of(head, clouds), [box], [labels])
    moves = velocity.any(dim=1)
    assert 2 < moves.sum() < len(box)
    assert torch.equal(found.moving, moves)
    assert (found.velocity - velocity).norm(dim=1).max() < 0.8


def test_steps_that_were_never_seen_are_found():
    """The matcher learns from what goes to the right, and is asked about what goes to the left."""
    torch.manual_seed(0)
    matcher = StepMatcher(13, 2, 8, 4)
    optimizer = torch.optim.Adam(matcher.parameters(), lr=1e-2)
    told = torch.zeros(32, 4)

    def batch(side: int) -> tuple[torch.Tensor, torch.Tensor]:
        steps = torch.randint(-5, 6, (32, 2))
        steps[:, 0] = side * steps[:, 0].abs()
        squares = (torch.rand(32, 4, 1, 29, 29) < 0.02).float()
        squares[:, 3] = squares[:, 2]  # the current frame, with itself
        for square, step in zip(squares, steps, strict=True):
            for frame, ago in ((0, 2), (1, 1), (2, 0), (3, 0)):
                x, y = 14 - ago * step[0], 14 - ago * step[1]
                square[frame, 0, y - 1 : y + 2, x] = 1
        objects = torch.zeros(32, 5, 5, dtype=torch.bool)
        objects[:, 1:4, 2] = True
        found = likeness(squares[:, [0, 1, 2, 3]], objects)
        now = likeness(squares[:, [2, 3]], objects)
        return torch.cat([found[:, :2], now], dim=1), steps.float()

    for _ in range(150):
        found, steps = batch(1)
        loss = matcher.loss(matcher(found, told), steps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found, steps = batch(-1)
        scores = matcher(found, told)
    off = (matcher.best(scores) - steps).norm(dim=1)
    assert (off < 0.5).float().mean() > 0.85
    stands = steps.abs().amax(dim=1) <= 1
    assert matcher.stands(scores)[stands].mean() > matcher.stands(scores)[~stands].mean() + 2


@pytest.mark.parametrize('turn', [math.pi, 0.7])
def test_turning_a_box_changes_nothing(turn):
    head = make_head().eval()
    clouds, box, _ = scene(0)
    labels = torch.zeros(len(box), dtype=torch.long)
    turned = box.clone()
    turned[:, 6] += turn
    (a,), (b,) = (head.predict(maps_of(head, clouds), [one], [labels]) for one in (box, turned))
    for one, other in zip(a, b, strict=True):
        assert torch.equal(one, other)


def test_the_height_of_the_sensor_changes_nothing():
    """Layers count from the bottom of the box, wherever the frame has its origin."""
    head = make_head().eval()
    clouds, box, _ = scene(0)
    labels = torch.zeros(len(box), dtype=torch.long)
    (low,) = head.predict(maps_of(head, clouds), [box], [labels])
    lifted, up = box.clone(), torch.tensor([0.0, 0, 1.25, 0])
    lifted[:, 2] += 1.25
    (high,) = head.predict(maps_of(head, [c + up for c in clouds]), [lifted], [labels])
    torch.testing.assert_close(low.velocity, high.velocity)


def test_batches_and_samples_without_boxes():
    head, labels = make_head().eval(), torch.zeros(12, dtype=torch.long)
    (one, box, _), (two, other, _) = scene(0), scene(1)
    maps = head.look([*one, *two, *two], None, torch.tensor([0, 1, 2]), 3)
    together = head.predict(maps, [box, box[:0], other], [labels, labels[:0], labels])
    assert [len(motion.velocity) for motion in together] == [12, 0, 12]
    (alone,) = head.predict(maps_of(head, two), [other], [labels])
    torch.testing.assert_close(together[2].velocity, alone.velocity)
    (none,) = head.predict(maps_of(head, one), [box[:0]], [labels[:0]])
    assert none.features.shape == (0, 32)


@pytest.mark.parametrize('count', [0, 3])
def test_nothing_known_is_a_loss_of_zero_with_a_graph(count):
    head = make_head()
    clouds, box, velocity = scene(0)
    losses, (motion,) = head.loss_and_predict(
        maps_of(head, clouds),
        [box[:count]],
        [torch.zeros(count, dtype=torch.long)],
        [truth_of(box[:count], velocity[:count], known=False)],
    )
    assert len(motion.velocity) == count
    for loss in losses.values():
        assert loss == 0
        loss.backward(retain_graph=True)


def test_what_is_not_known_may_be_anything():
    """Of one object each: velocity, acceleration, some of the future, all of these."""
    head, (clouds, box, velocity) = make_head(), scene(0)
    found = []
    for unknown in (7.0, math.nan):
        truth = truth_of(box, velocity.clone())
        truth.velocity_valid = truth.velocity_valid.clone()
        truth.acceleration_valid = truth.acceleration_valid.clone()
        truth.velocity_valid[[0, 3]] = truth.acceleration_valid[[1, 3]] = False
        truth.velocity[[0, 3]] = truth.acceleration[[1, 3]] = unknown
        truth.future_valid[2, 2:5] = truth.future_valid[3] = False
        truth.future_trajectories[2, 2:5] = truth.future_trajectories[3] = unknown
        torch.manual_seed(1)
        head.zero_grad()
        losses, _ = head.loss_and_predict(
            maps_of(head, clouds), [box], [torch.zeros(len(box), dtype=torch.long)], [truth]
        )
        sum(losses.values()).backward()
        found.append([*losses.values(), *(p.grad.clone() for p in head.parameters())])
    for anything, nan in zip(*found, strict=True):
        assert torch.equal(anything, nan)


def test_squares_and_vectors_turn_together():
    """The eight ways are different, and each moves a mark as it moves the way to it."""
    ways = torch.arange(8)
    square = torch.zeros(1, 5, 5)
    square[0, 3, 0] = 1  # one row up, two columns left of the middle
    squares = turned(square.expand(8, 1, 5, 5), ways)[:, 0]
    vectors = turned_vectors(torch.tensor([[-2.0, 1.0]]).expand(8, 2), ways)
    assert len({tuple(v.tolist()) for v in vectors}) == 8
    for one, vector in zip(squares, vectors, strict=True):
        row, column = one.nonzero()[0].tolist()
        assert (column - 2, row - 2) == tuple(vector.tolist())


def test_boxes_that_move_head_where_they_go():
    boxes = torch.arange(28.0).view(4, 7)
    way = torch.tensor([0.2, -3.0, 2.0, 1.0])
    speed = torch.tensor([0.8, 9.0, 0.6, 0.0])
    velocities = speed[:, None] * torch.stack([way.cos(), way.sin()], dim=1)
    found = head_along(boxes, velocities)
    assert torch.equal(found[:, :6], boxes[:, :6])
    torch.testing.assert_close(found[:, 6], torch.cat([way[:2], boxes[2:, 6]]))


def test_boxes_on_a_lane_head_as_it_leads():
    """Two lanes along x, 3.5 m apart, that lead opposite ways; one that crosses; points of none."""
    x = torch.arange(-20.0, 20.0)
    ones = torch.ones_like(x)
    lanes = torch.cat(
        [
            torch.stack([x, 0 * x, ones, 0 * x], dim=1),
            torch.stack([x, 3.5 * ones, -ones, 0 * x], dim=1),
            torch.stack([10 * ones, x, 0 * x, ones], dim=1),
            torch.full((5, 4), torch.nan),
        ]
    )
    cases = [  # x, y, yaw, quarters of a turn
        (-10, 0.2, 0.1, 0),
        (-10, 0.2, 3.0, 2),
        (-10, 3.0, 0.2, 2),
        (-10, 3.0, 3.3, 0),
        (-10, 1.7, 0.0, 0),  # between both lanes
        (-10, -2.8, 3.1, 0),  # on neither
        (-10, 0.2, 1.5, -1),  # across
        (-10, 0.2, -1.5, 1),
        (-10, 3.0, 1.5, 1),
        (-10, 0.2, 0.8, 0),  # neither along nor across
        (-10, -2.8, 1.5, 0),
        (10, 0.2, 1.5, 0),  # where lanes cross, along one and across the other
        (10, 0.2, 0.0, 0),
        (10.2, -9.0, 3.1, -1),  # on the one that crosses, before it does
        (10, 0.2, -1.5, 2),  # against the one and across the other
        (-10, 0.2, 3.1, 0),  # not bound
        (-10, 0.2, 1.5, 0),
    ]
    x, y, yaw, quarters = torch.tensor(cases).unbind(1)
    boxes = torch.zeros(len(cases), 7)
    boxes[:, 0], boxes[:, 1], boxes[:, 6] = x, y, yaw
    bound = torch.arange(len(cases)) < len(cases) - 2
    found = head_with_traffic(boxes, lanes, bound)
    assert torch.equal(found[:, :6], boxes[:, :6])
    torch.testing.assert_close(found[:, 6] - yaw, quarters * math.pi / 2)
    assert torch.equal(head_with_traffic(boxes, lanes[:0], bound), boxes)
    for angle in (1.0, 2.5):
        cos, sin = math.cos(angle), math.sin(angle)
        turn = torch.tensor([[cos, sin], [-sin, cos]])
        moved = torch.cat([boxes[:, :2] @ turn, boxes[:, 2:6], yaw[:, None] + angle], dim=1)
        turned = torch.cat([lanes[:, :2] @ turn, lanes[:, 2:] @ turn], dim=1)
        after = head_with_traffic(moved, turned, bound)
        torch.testing.assert_close(after[:, 6], found[:, 6] + angle)


def test_samples_of_other_frames_are_refused():
    clouds, *_ = scene(0)
    with pytest.raises(SettingError, match='num_frames is 2, but samples have 3 frames'):
        maps_of(make_head(), [*clouds, clouds[0]])


@pytest.mark.parametrize('setting', [dict(crop_cells=20), dict(refine_cells=8), dict(views=0)])
def test_squares_that_make_no_head_are_refused(setting):
    with pytest.raises(SettingError, match='crop_cells'):
        VelocityHead(3, 2, RANGE, **setting)


def test_cells_that_turning_would_change_are_refused():
    with pytest.raises(SettingError, match='x equal to y'):
        VelocityHead(3, 2, RANGE, cell_size=(0.4, 0.2, 0.25))


def test_the_best_step_is_exact_in_automatic_mixed_precision():
    scores = torch.randn(6, 33, 33, generator=torch.Generator().manual_seed(0))
    matcher = StepMatcher(33, 1, 8, 4)
    expected = matcher.best(scores)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(matcher.best(scores), expected, atol=0, rtol=0)


def test_accelerations_and_new_objects_are_learnt_from():
    """Losses by hand where the head answers the same to all."""
    head = make_head(views=1, position_noise=0.0, start_noise=(0.0, 0.0))
    head.rest.weight.data.zero_()
    clouds, box, velocity = scene(0, count=6)
    truth = truth_of(box, velocity)
    truth.acceleration = torch.tensor([[2.0, -1.0]]).repeat(6, 1)
    labels = [torch.zeros(6, dtype=torch.long)]

    def losses() -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return head.loss_and_predict(maps_of(head, clouds), [box], labels, [truth])[0]

    before = losses()
    beta = 2 * head.beta
    assert beta <= 1
    expected = head.loss_weight * ((2 - beta / 2) + (1 - beta / 2))
    torch.testing.assert_close(before['loss_acceleration'], torch.tensor(expected))
    head.rest.bias.data[2:] = torch.tensor([0.2, -0.1])
    with torch.no_grad():
        (said,) = head.predict(maps_of(head, clouds), [box], labels)
    truth.acceleration = said.acceleration
    assert said.acceleration.norm(dim=1).min() > 0.1
    before = losses()
    assert before['loss_acceleration'] < 1e-6
    # What has no past yet is learnt from where it goes next.
    truth.velocity_valid = torch.zeros(6, dtype=torch.bool)
    truth.velocity = torch.full((6, 2), 77.0)
    after = losses()
    for name in ('loss_step', 'loss_velocity'):
        torch.testing.assert_close(after[name], before[name])
