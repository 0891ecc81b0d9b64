"""The files of a simulated set are those of the V2XPnP-Seq format."""

import json
import pickle
import pickletools
import sys

import numpy as np
import pytest
import yaml

from turbotrain.simulation.writer import write_annotation, write_vector_map
from turbotrain.structures.poses import (
    invert_rigid,
    pose_to_matrix,
    transform_points,
)
from turbotrain.structures.vector_map import Lane, MapPoint

FRAMES = [f'{frame:06d}' for frame in range(0, 40, 5)]
MAP_MODULE = 'opencood.data_utils.datasets.map.map_types'
RAW_TYPES = {
    'Car',
    'PoliceCar',
    'Van',
    'Truck',
    'LongVehicle',
    'Bus',
    'MotorcyleRider',
    'BicycleRider',
    'ScooterRider',
    'Pedestrian',
    'Child',
    'RoadWorker',
}


def scenarios(root):
    return {path.parent.name: path for path in root.glob('*/2023-*')}


def load(path):
    return yaml.load(path.read_text(), Loader=yaml.CSafeLoader)


def cloud(path):
    return np.fromfile(path.with_suffix('.bin'), dtype='<f4').reshape(-1, 4)


def annotations(root):
    return sorted(root.glob('*/2023-*/*/*.yaml'))


def test_tree(tiny_set):
    found = scenarios(tiny_set)
    assert set(found) == {'train', 'test'}
    assert found['test'].name.startswith('2023-04-07-')
    agents = {split: {item.name for item in path.iterdir()} for split, path in found.items()}
    assert agents == {'train': {'1', '2', '-1', '-2'}, 'test': {'1', '2'}}
    for path in found.values():
        for agent in path.iterdir():
            names = sorted(item.name for item in agent.iterdir())
            assert names == sorted(f'{stem}.{ext}' for stem in FRAMES for ext in ('yaml', 'bin'))


def test_annotation_keys_and_types(tiny_set):
    seen = set()
    for path in annotations(tiny_set):
        content = load(path)
        infra = int(path.parent.name) < 0
        cameras = {f'cam{i}' for i in range(1, 3 if infra else 5)}
        keys = {'ego_speed', 'infra', 'lidar_pose', 'true_ego_pose', 'vehicles'}
        assert set(content) == keys | cameras
        assert content['infra'] is infra
        assert content['ego_speed'] == 0
        assert content['lidar_pose'] == content['true_ego_pose']
        assert np.shape(content['lidar_pose']) == (6,)
        for camera in cameras:
            assert np.shape(content[camera]['cords']) == (6,)
            assert np.shape(content[camera]['extrinsic']) == (4, 4)
            assert np.shape(content[camera]['intrinsic']) == (3, 3)
        for key, item in content['vehicles'].items():
            assert type(key) is int
            assert set(item) == {'angle', 'attribute', 'center', 'extent', 'location', 'obj_type'}
            assert item['attribute'] == ''
            assert item['center'] == [0.0, 0.0, 0.0]
            for name in ('angle', 'extent', 'location'):
                assert [type(value) for value in item[name]] == [float] * 3
            assert item['location'][2] == pytest.approx(item['extent'][2], abs=1e-4)
            seen.add(item['obj_type'])
    assert seen <= RAW_TYPES
    assert {'Car', 'Pedestrian'} <= seen


def test_ids_are_shared_by_agents(tiny_set):
    for path in scenarios(tiny_set).values():
        for frame in FRAMES:
            seen = {}
            for agent in path.iterdir():
                for key, item in load(agent / f'{frame}.yaml')['vehicles'].items():
                    assert seen.setdefault(key, item) == item


def test_ids_keep_their_object_over_time(tiny_set):
    for path in scenarios(tiny_set).values():
        before = {}
        for frame in FRAMES:
            for key, item in load(path / '1' / f'{frame}.yaml')['vehicles'].items():
                last = before.setdefault(key, (item, frame))
                assert last[0]['obj_type'] == item['obj_type']
                assert last[0]['extent'] == item['extent']
                seconds = (int(frame) - int(last[1])) / 10
                moved = np.subtract(item['location'], last[0]['location'])
                assert np.linalg.norm(moved) <= 16.0 * seconds + 1e-3
                before[key] = item, frame


def test_clouds_hold_points_and_a_few_invalid_rows(tiny_set):
    for path in annotations(tiny_set):
        assert path.with_suffix('.bin').stat().st_size % 16 == 0
        points = cloud(path)
        invalid = np.isnan(points).any(1)
        assert 3 <= invalid.sum() <= 0.01 * len(points)
        assert np.isnan(points[invalid]).all()
        assert ((points[~invalid, 3] >= 0) & (points[~invalid, 3] <= 1)).all()
        assert len(points) > 800


def test_labels_are_hit_and_only_by_their_points(tiny_set):
    """Every label has points within its box; without the range noise it would be all of them."""
    for path in annotations(tiny_set)[::3]:
        content, points = load(path), cloud(path)
        points = points[~np.isnan(points[:, 0]), :3].astype(np.float64)
        world = transform_points(pose_to_matrix(content['lidar_pose']), points)
        for item in content['vehicles'].values():
            roll, yaw, pitch = item['angle']
            box = pose_to_matrix([*item['location'], roll, yaw, pitch])
            local = np.abs(transform_points(invert_rigid(box), world))
            assert (local <= np.array(item['extent']) + 0.1).all(1).any()


def test_tilted_poses_bring_the_ground_to_zero(tiny_set):
    """A wrong sign of roll or pitch would lift the road by metres."""
    for path in annotations(tiny_set):
        pose = load(path)['lidar_pose']
        assert abs(pose[3]) > 1e-3
        assert abs(pose[5]) > 1e-3
        points = cloud(path)[:, :3].astype(np.float64)
        world = transform_points(pose_to_matrix(pose), points[~np.isnan(points[:, 0])])
        assert world[:, 2].min() > -0.15
        near = np.linalg.norm(world[:, :2] - pose[:2], axis=1) < 30.0
        assert (np.abs(world[near, 2]) < 0.08).mean() > 0.2


def test_connected_vehicles_are_objects_of_the_others_only(tiny_set):
    """No label lies under an agent's own LiDAR; some lie under the LiDAR of another vehicle."""
    for path in scenarios(tiny_set).values():
        seen_by_others = 0
        for frame in FRAMES:
            contents = {item.name: load(item / f'{frame}.yaml') for item in path.iterdir()}
            for carrier in ('1', '2'):
                place = np.array(contents[carrier]['lidar_pose'][:2])
                for agent, content in contents.items():
                    labels = content['vehicles'].values()
                    under = [np.hypot(*(item['location'][:2] - place)) < 0.8 for item in labels]
                    assert not (agent == carrier and any(under))
                    seen_by_others += any(under)
        assert seen_by_others > 0


def globals_of(path):
    """Every global that a pickle refers to, from its opcodes."""
    found, strings, memo, last = set(), [], {}, None
    for opcode, argument, _ in pickletools.genops(path.read_bytes()):
        if opcode.name == 'MEMOIZE':
            memo[len(memo)] = last
            continue
        if opcode.name == 'STACK_GLOBAL':
            found.add('.'.join(strings[-2:]))
        elif opcode.name in ('GLOBAL', 'INST'):
            found.add(argument.replace(' ', '.'))
        last = argument if 'UNICODE' in opcode.name else None
        if 'GET' in opcode.name:
            last = memo[argument]
        if isinstance(last, str):
            strings.append(last)
    return found


def test_map_pickles(tiny_set):
    expected = {f'{MAP_MODULE}.{name}' for name in ('Map', 'Lane', 'MapPoint')}
    for name in ('v2x_intersection_vector_map.pkl', 'v2v_corridors_vector_map.pkl'):
        assert globals_of(tiny_set / 'map' / name) == expected
    assert not any(name.startswith('opencood') for name in sys.modules)


class Record:
    """Stands in for any class of a map pickle."""


class RecordUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return Record


def test_map_lanes_cover_the_vehicles(tiny_set):
    with (tiny_set / 'map' / 'v2x_intersection_vector_map.pkl').open('rb') as file:
        lanes = RecordUnpickler(file).load().map_features
    names = {f'{lane.road_id}_{lane.lane_id}' for lane in lanes}
    assert len(names) == len(lanes)
    assert {lane.type for lane in lanes} == {1, 2, 4}
    for lane in lanes:
        assert lane.lane_id < 0
        assert set(lane.entry_lanes) | set(lane.exit_lanes) <= names
        assert bool(lane.boundary) == (lane.type == 1)
        line = np.array([[p.x, p.y, p.z] for p in lane.polyline])
        if len(line) > 3:
            assert np.linalg.norm(np.diff(line, axis=0), axis=1).max() < 2.2
    ways = np.array([[p.x, p.y] for lane in lanes if lane.type != 2 for p in lane.polyline])
    far = 0
    boxes = [
        item
        for path in annotations(tiny_set)
        if '04-07' not in str(path)
        for item in load(path)['vehicles'].values()
    ]
    vehicles = [item for item in boxes if item['extent'][0] > 1.5]
    for item in vehicles:
        far += np.linalg.norm(ways - item['location'][:2], axis=1).min() > 2.0
    assert far <= 0.02 * len(vehicles)


def test_trajectory_pickles(tiny_set):
    allowed = {
        'collections.OrderedDict',
        f'{np.ndarray.__reduce__(np.zeros(1))[0].__module__}._reconstruct',
        'numpy.ndarray',
        'numpy.dtype',
    }
    for split, path in scenarios(tiny_set).items():
        file = tiny_set / f'trajectory_database_{split}.pkl'
        assert globals_of(file) == allowed
        tracks = pickle.loads(file.read_bytes())
        assert list(tracks) == [0]
        for frame in FRAMES:
            for agent in path.iterdir():
                for key, item in load(agent / f'{frame}.yaml')['vehicles'].items():
                    track = tracks[0][key]
                    assert track['trajectory'].shape == (40, 4)
                    assert track['trajectory_mask'].shape == (40,)
                    assert track['trajectory_mask'][int(frame)]
                    row = track['trajectory'][int(frame)]
                    np.testing.assert_allclose(row, [int(frame), *item['location']], atol=1e-3)
    empty = pickle.loads((tiny_set / 'trajectory_database_val.pkl').read_bytes())
    assert empty == {}


def test_summary_counts(tiny_set):
    summary = json.loads((tiny_set / 'summary.json').read_text())
    for kind in ('intersection', 'corridor'):
        assert 0.0 < summary[kind]['visible_ego'] <= summary[kind]['visible_all'] <= 1.0


def test_map_writer_leaves_the_modules_alone(tmp_path):
    before = dict(sys.modules)
    lane = Lane(7, -1, 1, [MapPoint(0.0, 1.0)], ['6_-1'], [], [MapPoint(2.0, 3.0)])
    write_vector_map(tmp_path / 'map.pkl', [lane])
    assert sys.modules == before
    with (tmp_path / 'map.pkl').open('rb') as file:
        content = RecordUnpickler(file).load()
    assert content.dynamic_states is None
    assert content.map_features[0].entry_lanes == ['6_-1']
    assert vars(content.map_features[0].boundary[0]) == {'x': 2.0, 'y': 3.0, 'z': 0.0}


def test_annotation_without_objects(tmp_path):
    write_annotation(tmp_path / 'a.yaml', np.array([1.0, 2, 3, -1e-7, 5, 1e-5]), True, {})
    content = load(tmp_path / 'a.yaml')
    assert content['vehicles'] == {}
    assert content['lidar_pose'] == [1.0, 2.0, 3.0, 0.0, 5.0, 1e-5]
