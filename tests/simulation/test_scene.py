"""Meshes fill their boxes, rays stop at what is in the way, SUMO's states become boxes."""

import numpy as np
import pytest

from turbotrain.simulation.lidar import (
    DENSE_128,
    EVEN_64,
    EVEN_128,
    Scene,
    scan,
)
from turbotrain.simulation.meshes import box, user_mesh
from turbotrain.simulation.overlaps import without_overlaps
from turbotrain.simulation.road_network import resample_polyline
from turbotrain.simulation.road_users import (
    PARKED,
    PEDESTRIANS,
    VEHICLES,
    RoadUser,
)
from turbotrain.simulation.site_layout import Arm, sample_layout
from turbotrain.simulation.surroundings import (
    Footprint,
    park_vehicles,
    place_poles,
)
from turbotrain.simulation.traffic import Tracks, _read_tracks
from turbotrain.structures.poses import pose_to_matrix

GROUND = box((-100.0, -100.0, -1.0), (100.0, 100.0, 0.0), 0.3)
CAR = RoadUser('car', 'Car', 'car', (4.6, 1.85, 1.55), 0.5)
SENSOR = pose_to_matrix([0.0, 0.0, 2.0, 0.0, 0.0, 0.0])


def count_hits(scene, objects, seed=0):
    directions = DENSE_128.directions(2, 5, 0.0)
    result = scan(scene, SENSOR, directions, np.random.default_rng(seed))
    return np.bincount(result.owner[result.owner >= 0], minlength=objects)


@pytest.mark.parametrize('kind', [*VEHICLES, *PARKED, *PEDESTRIANS], ids=lambda k: k.obj_type)
@pytest.mark.parametrize('scale', [0.9, 1.1])
def test_meshes_fill_their_boxes(kind, scale):
    size = np.array(kind.size) * scale
    mesh = user_mesh(RoadUser('x', kind.obj_type, kind.shape, tuple(size.tolist()), 0.5))
    np.testing.assert_allclose(mesh.vertices.min(0), [-size[0] / 2, -size[1] / 2, 0.0], atol=1e-9)
    np.testing.assert_allclose(mesh.vertices.max(0), [*(size[:2] / 2), size[2]], atol=1e-9)
    assert mesh.faces.max() < len(mesh.vertices)


def test_a_wall_hides_a_car():
    car = user_mesh(CAR).placed(20.0, 3.0, 0.4)
    wall = box((10.0, -15.0, 0.0), (10.5, 15.0, 5.0), 0.4)
    assert count_hits(Scene(GROUND, [car]), 1)[0] > 50
    assert count_hits(Scene(GROUND, [car, wall]), 2)[0] == 0


def test_a_truck_hides_a_person_but_not_all_of_a_bus():
    truck = user_mesh(RoadUser('t', 'Truck', 'truck', (7.6, 2.45, 3.2), 0.5)).placed(8.0, 0.0, 1.57)
    person = user_mesh(RoadUser('p', 'Pedestrian', 'person', (0.65, 0.6, 1.75), 0.5))
    bus = user_mesh(RoadUser('b', 'Bus', 'bus', (11.0, 2.5, 3.1), 0.5)).placed(16.0, 6.0, 1.57)
    hits = count_hits(Scene(GROUND, [truck, person.placed(11.0, 0.5, 0.0), bus]), 3)
    assert hits[0] > 0
    assert hits[1] == 0
    assert hits[2] > 0


def test_scan_returns_ranges_with_noise_and_invalid_rows():
    wall = box((20.0, -50.0, -5.0), (21.0, 50.0, 30.0), 0.4)
    directions = EVEN_128.directions(2, 5, 0.3)
    result = scan(Scene(GROUND, [wall]), SENSOR, directions, np.random.default_rng(1))
    assert result.points.dtype == np.float32
    invalid = np.isnan(result.points).any(1)
    assert invalid.sum() >= 3
    assert (result.owner[invalid] == -1).all()
    on_wall = result.points[result.owner == 0, :3].astype(np.float64)
    along = (20.0 - on_wall[:, 0]) * np.linalg.norm(on_wall, axis=1) / on_wall[:, 0]
    assert abs(along.mean()) < 0.002
    assert along.std() == pytest.approx(0.02, rel=0.1)


def test_scan_is_fixed_by_its_generator():
    scene = Scene(GROUND, [user_mesh(CAR).placed(9.0, 1.0, 0.2)])
    directions = EVEN_64.directions(1, 10, 0.0)
    first, again, other = (
        scan(scene, SENSOR, directions, np.random.default_rng(seed)).points for seed in (5, 5, 6)
    )
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize(('pattern', 'beams'), [(DENSE_128, 128), (EVEN_128, 128), (EVEN_64, 64)])
def test_patterns(pattern, beams):
    assert len(pattern.elevations) == beams
    assert (np.diff(pattern.elevations) > 0).all()
    directions = pattern.directions(4, 10, 0.5)
    assert directions.shape == (beams // 4 * 180, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)


def test_front_bumper_and_compass_become_centre_and_yaw(tmp_path):
    rows = [('10', '0', '90'), ('10', '0', '0'), ('10', '0', '350')]
    steps = ''.join(
        f'<timestep time="{i}"><vehicle id="car" x="{x}" y="{y}" angle="{a}"/></timestep>'
        for i, (x, y, a) in enumerate(rows)
    )
    path = tmp_path / 'fcd.xml'
    path.write_text(f'<fcd-export>{steps}</fcd-export>')
    tracks = _read_tracks(path, {'car': CAR}, 4)
    np.testing.assert_allclose(tracks.centre[0, 0], [7.7, 0.0], atol=1e-9)
    np.testing.assert_allclose(tracks.centre[0, 1], [10.0, -2.3], atol=1e-9)
    assert tracks.present.tolist() == [[True, True, True, False]]
    assert np.abs(np.diff(tracks.yaw[0, :3])).max() < np.pi / 2  # unwrapped and smoothed


@pytest.mark.parametrize('curvature', [0.0, 0.004, -0.004])
def test_arm_axis_is_an_arc(curvature):
    arm = Arm(0.7, curvature, 100.0, 2, 1)
    along = np.linspace(0.0, 100.0, 20001)
    heading = arm.heading_at(along)
    steps = np.stack([np.cos(heading), np.sin(heading)], -1) * (along[1] - along[0])
    np.testing.assert_allclose(arm.axis(np.array(100.0)), steps[:-1].sum(0), atol=0.01)


@pytest.mark.parametrize('seed', range(6))
def test_sensor_poles_stand_off_the_road_and_parked_vehicles_apart(seed):
    rng = np.random.default_rng(seed)
    layout = sample_layout('tee' if seed % 2 else 'four_way', rng)
    poles = place_poles(layout)
    assert np.linalg.norm(poles[0] - poles[1]) > 15.0
    for arm in layout.arms:
        direction = np.array([np.cos(arm.heading), np.sin(arm.heading)])
        ahead = poles @ direction > 0
        left = poles @ np.array([-direction[1], direction[0]])
        assert (left[ahead & (left > 0)] > arm.kerb(1)).all()
        assert (left[ahead & (left < 0)] < -arm.kerb(-1)).all()
    parked = park_vehicles(layout, 3, rng)
    prints = [
        Footprint(*place[0], user.size[0], user.size[1], yaw[0], user.size[2])
        for user, place, yaw in zip(parked.users, parked.centre, parked.yaw, strict=True)
    ]
    for i, one in enumerate(prints):
        assert not any(one.contains(two.grid(0.3), 0.0).any() for two in prints[i + 1 :])


def test_resampled_polyline_keeps_its_ends():
    line = resample_polyline(np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 5.0]]), 1.5)
    np.testing.assert_allclose(line[[0, -1]], [[0.0, 0.0], [10.0, 5.0]])
    assert len(line) == 11


@pytest.mark.parametrize(('gap', 'left'), [(0.0, ['bus']), (0.7, ['bus', 'car'])])
def test_who_drives_through_a_bus_is_left_out(gap, left):
    bus = RoadUser('bus', 'Bus', 'bus', (11.0, 2.5, 3.1), 0.5)
    yaw = np.full((2, 12), 0.3)
    side = np.array([-np.sin(0.3), np.cos(0.3)]) * ((2.5 + 1.85) / 2 + gap - 0.7)
    ahead = np.linspace(-20.0, 20.0, 12)[:, None] * (np.cos(0.3), np.sin(0.3))
    centre = np.stack([np.zeros((12, 2)), ahead + side])
    tracks = Tracks([bus, CAR], centre, yaw, np.ones((2, 12), dtype=bool))
    assert [user.name for user in without_overlaps(tracks).users] == left
