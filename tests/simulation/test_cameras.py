"""Pictures of the simulator: they change nothing else, and show what the LiDARs see."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml

from turbotrain.simulation.cameras import CAMERAS, Roads, paint_of, render
from turbotrain.simulation.dataset import plan_scenarios
from turbotrain.simulation.lidar import Scene
from turbotrain.simulation.meshes import box
from turbotrain.simulation.road_network import NetworkLane
from turbotrain.simulation.scenario import simulate_scenario
from turbotrain.structures import invert_rigid, pose_to_matrix, transform_points

from .tiny import TINY


@pytest.fixture(scope='module')
def corridor(tmp_path_factory):
    """The corridor of the tiny set, with pictures of two of its frames."""
    root = tmp_path_factory.mktemp('pictures')
    (plan,) = (plan for plan in plan_scenarios(TINY) if plan.kind == 'corridor')
    simulate_scenario(plan, replace(TINY.sensors, frame_stride=20, cameras=True), root)
    return root / plan.split / plan.name


def test_all_else_stays_as_it_is(tiny_set, corridor):
    twin = tiny_set / corridor.relative_to(corridor.parents[1])
    files = sorted(path for path in corridor.rglob('*') if path.is_file())
    names = {path.name for path in files}
    stems = '000000', '000020'
    cameras = {f'{stem}_cam{i}.jpeg' for stem in stems for i in range(1, 5)}
    assert names == cameras | {f'{stem}.{end}' for stem in stems for end in ('bin', 'yaml')}
    for path in files:
        other = twin / path.relative_to(corridor)
        if path.suffix == '.bin':
            assert path.read_bytes() == other.read_bytes()
        elif path.suffix == '.yaml':
            one, two = (yaml.load(p.read_text(), Loader=yaml.CSafeLoader) for p in (path, other))
            for i in range(1, 5):
                assert one.pop(f'cam{i}') != two.pop(f'cam{i}')
            assert one == two
        else:
            assert not other.exists()


def test_points_of_a_labelled_object_have_its_paint(corridor):
    """Its points, through the camera that the annotation describes, against all other paints."""
    own, others = [], []
    for path in sorted(corridor.glob('*/*_cam*.jpeg')):
        stem, name = path.stem.split('_')
        content = yaml.load(path.with_name(f'{stem}.yaml').read_text(), Loader=yaml.CSafeLoader)
        picture = cv2.imread(str(path)).astype(float)[..., ::-1]
        points = np.fromfile(path.with_name(f'{stem}.bin'), '<f4').reshape(-1, 4)[:, :3]
        points = points[np.isfinite(points).all(1)].astype(float)
        world = transform_points(pose_to_matrix(content['lidar_pose']), points)
        camera_from_lidar = invert_rigid(np.array(content[name]['extrinsic']))
        image = transform_points(camera_from_lidar, points) @ np.array(content[name]['intrinsic']).T
        u, v = np.round(image[:, :2] / image[:, 2:]).astype(int).T
        height, width = picture.shape[:2]
        shown = (image[:, 2] > 0.5) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        paints = {key: np.array(paint_of(key)) for key in content['vehicles']}
        for key, item in content['vehicles'].items():
            world_from_box = pose_to_matrix([*item['location'], *item['angle']])
            local = np.abs(transform_points(invert_rigid(world_from_box), world))
            inside = shown & (local < np.array(item['extent']) + 0.05).all(1)
            seen = picture[v[inside], u[inside]]
            seen = seen[seen.max(1) > 70]  # what is darker is glass or rubber
            hues = seen / seen.max(1, keepdims=True)
            for other, paint in paints.items():
                near = np.abs(hues - paint / paint.max()).max(1) < 0.12
                (own if other == key else others).extend(near.tolist())
    assert len(own) > 200
    assert np.mean(own) > 0.6 > 4 * np.mean(others)


def test_a_box_is_drawn_in_its_paint_and_lit_from_above():
    camera = CAMERAS[False][0]
    ground = box((-99, -99, -1), (99, 99, 0), 0.25)
    cube = box((8, -1, 0), (10, 1, 1.2), 0.5)
    # Seen from 3 m above the ground, the top and the nearer side.
    frame_from_camera = camera.lidar_from_camera.copy()
    frame_from_camera[:3, 3] = 0, 0, 3
    picture = render(Scene(ground, [cube]), frame_from_camera, camera, [(1.0, 0.0, 0.0)]) / 255
    red = (picture[..., 0] > 0.3) & (picture[..., 1] < 0.25)
    corners = np.array([[x, y, z, 1] for x in (8, 10) for y in (-1, 1) for z in (0, 1.2)])
    image = camera.intrinsics @ (np.linalg.inv(frame_from_camera) @ corners.T)[:3]
    image = (image[:2] / image[2]).T
    rows, columns = np.nonzero(red)
    np.testing.assert_allclose([columns.min(), rows.min()], image.min(0), atol=1)
    np.testing.assert_allclose([columns.max(), rows.max()], image.max(0), atol=1)
    top, side = picture[rows.min() + 1, int(np.median(columns))], picture[rows.max() - 1, 160]
    assert top[0] > side[0] + 0.1
    assert (picture[0] > 0.4).all() and picture[0, :, 2].mean() > picture[0, :, 0].mean() + 0.2


def test_roads_are_grey_between_white_edges_and_green_is_around():
    line = np.column_stack([np.linspace(-20, 20, 5), np.zeros(5)])
    lane = NetworkLane('a_0', 'a', 0, 1, 1, 3.0, line, ())
    places = np.array([[0, 0], [3, 1.2], [-7, 1.5], [2, -1.47], [0, 3.5], [0, 9], [90, 0]])
    colors = Roads([lane]).colors(places)
    asphalt, also, edge, other, pavement, grass, far = colors
    assert (asphalt == also).all() and (edge == other).all() and (grass == far).all()
    assert edge.min() > 0.8 > pavement.max() > asphalt.max() and grass.argmax() == 1
    assert (Roads().colors(places) == grass).all()
