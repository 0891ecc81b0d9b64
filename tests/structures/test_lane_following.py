import math

import pytest
import torch

from turbotrain.structures import drive_along_lanes, driving_lanes

TIMES = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
RADIUS = 20.0  # of a bend to the left that starts at the origin, along x


def bend() -> tuple[torch.Tensor, torch.Tensor]:
    """The lane of the bend with a point every metre, and a sidewalk straight on."""
    angle = torch.arange(0, 1.6, 1 / RADIUS, dtype=torch.float64)
    polylines = torch.zeros(1, 2, len(angle), 7, dtype=torch.float64)
    polylines[0, 0, :, :2] = on_the_bend(angle)
    polylines[0, 0, :, 3] = 2.5 * angle.cos()
    polylines[0, 0, :, 4] = 2.5 * angle.sin()
    polylines[0, 1, :, 0] = RADIUS * angle
    polylines[0, 1, :, 3] = 1
    polylines[0, :, :, 6] = torch.tensor([[1.0], [2.0]])
    return polylines, torch.ones(polylines.shape[:3], dtype=torch.bool)


def on_the_bend(angle: torch.Tensor, offset: float = 0.0) -> torch.Tensor:
    """Points `offset` m to the right of the bend's lane."""
    reach = RADIUS + offset
    return torch.stack([reach * angle.sin(), RADIUS - reach * angle.cos()], dim=-1)


def tensor(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float64)


def straight(positions: torch.Tensor, velocities: torch.Tensor) -> torch.Tensor:
    times = torch.tensor(TIMES, dtype=positions.dtype)
    return positions[:, :, None] + times[:, None] * velocities[:, :, None]


def test_a_driver_stays_on_its_lane():
    speed, lanes = 8.0, driving_lanes(*bend())
    ((path,),) = drive_along_lanes(tensor((0, 0)), tensor((speed, 0)), lanes, TIMES)
    angle = speed / RADIUS * torch.tensor(TIMES, dtype=torch.float64)
    assert (path - on_the_bend(angle)).norm(dim=-1).max() < 0.3
    assert (straight(tensor((0, 0)), tensor((speed, 0))) - on_the_bend(angle)).norm(
        dim=-1
    ).max() > 10


def test_an_offset_from_the_middle_is_kept():
    speed, lanes = 8.0, driving_lanes(*bend())
    starts = tensor((0, -1.0), (0, 1.0))
    (paths,) = drive_along_lanes(starts, tensor((speed, 0), (speed, 0)), lanes, TIMES)
    away = (paths - torch.tensor([0, RADIUS])).norm(dim=-1)
    assert (away - torch.tensor([[RADIUS + 1], [RADIUS - 1]])).abs().max() < 0.3


def test_the_way_is_as_long_as_the_speed_makes_it():
    speed, lanes = 8.0, driving_lanes(*bend())
    fine = [0.25 * n for n in range(1, 13)]
    ((path,),) = drive_along_lanes(tensor((0, 0)), tensor((speed, 0)), lanes, fine)
    steps = torch.cat([torch.zeros(1, 2, dtype=path.dtype), path]).diff(dim=0).norm(dim=-1)
    torch.testing.assert_close(steps, torch.full_like(steps, 0.25 * speed))


@pytest.mark.parametrize(
    'start, velocity',
    [
        ((0, 0), (1.9, 0)),  # slower than who drives
        ((0, 0), (0, 8)),  # crosses it
        ((40, 0), (-8, 0)),  # comes towards it, on the sidewalk
        ((0, -2.6), (8, 0)),  # beside it
    ],
)
def test_all_others_go_straight_on(start, velocity):
    found = drive_along_lanes(tensor(start), tensor(velocity), driving_lanes(*bend()), TIMES)
    torch.testing.assert_close(found, straight(tensor(start), tensor(velocity)))


def test_turning_the_world_turns_the_paths():
    polylines, mask = bend()
    starts, velocities = tensor((0, 0), (5, 1), (3, 9)), tensor((8, 0), (5, 1), (0, -4))
    before = drive_along_lanes(starts, velocities, driving_lanes(polylines, mask), TIMES)
    for angle in (1.0, math.pi / 2, 3.0):
        cos, sin = math.cos(angle), math.sin(angle)
        turn = torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float64)
        turned = polylines.clone()
        turned[..., :2], turned[..., 3:5] = polylines[..., :2] @ turn, polylines[..., 3:5] @ turn
        after = drive_along_lanes(
            starts @ turn, velocities @ turn, driving_lanes(turned, mask), TIMES
        )
        torch.testing.assert_close(after, before @ turn)


def test_samples_are_independent_and_gaps_in_a_map_are_no_lanes():
    polylines, mask = bend()
    lanes = driving_lanes(torch.cat([polylines, polylines]), torch.cat([mask, ~mask]))
    assert not lanes[0, : polylines.shape[2]].isnan().any()
    assert lanes[0, polylines.shape[2] :].isnan().all() and lanes[1].isnan().all()
    starts, velocities = tensor((0, 0), (0, 1)), tensor((8, 0), (0, 0))
    both = drive_along_lanes(starts.repeat(2, 1, 1), velocities.repeat(2, 1, 1), lanes, TIMES)
    torch.testing.assert_close(both[:1], drive_along_lanes(starts, velocities, lanes[:1], TIMES))
    torch.testing.assert_close(both[1:], straight(starts, velocities))
    torch.testing.assert_close(
        drive_along_lanes(starts, velocities, lanes[:1, :0], TIMES), straight(starts, velocities)
    )
    assert drive_along_lanes(starts[:, :0], velocities[:, :0], lanes[:1], TIMES).shape[1] == 0


def test_a_point_without_a_direction_is_no_lane():
    polylines, mask = bend()
    polylines[0, 0, 3, 3:5] = 0
    lanes = driving_lanes(polylines, mask)
    assert lanes[0, 3].isnan().all() and not lanes[0, 2].isnan().any()


def test_who_speeds_up_gets_further_and_who_brakes_stops():
    """The speed v + 3 a (1 - exp(-t / 3)) is used up at t = 3 log 2 if v = -1.5 a."""
    times = [0.1 * n for n in range(1, 61)]
    starts, velocities = tensor((0, 0), (0, 5)), tensor((3.0, 0), (0, 3.0))
    accelerations = torch.tensor([[2.0, -2.0]], dtype=torch.float64)
    lanes = driving_lanes(*bend())[:, :0]
    (paths,) = drive_along_lanes(starts, velocities, lanes, times, accelerations)
    t = torch.tensor(times, dtype=torch.float64)
    gained = 3 * 2.0 * (t - 3 * (1 - torch.exp(-t / 3)))
    torch.testing.assert_close(paths[0, :, 0], 3.0 * t + gained, atol=0.01, rtol=0)
    stops = 3 * math.log(2)
    torch.testing.assert_close(
        (paths[1, :, 1] - 5)[t < stops], (3.0 * t - gained)[t < stops], atol=0.01, rtol=0
    )
    rest = paths[1, t > stops + 0.1]
    torch.testing.assert_close(rest, rest[:1].expand_as(rest))
