"""DAIR-V2X-C and V2X-Seq: which frames belong together, what they say, and what is odd in them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config

from tests.commands import run_main
from tests.dair import BEGIN, PLAIN, SPLIT_FILES, TURNED, Frame, Pair, box, put, write_set
from tests.layouts import rewrite, write_pcd
from tests.scenes import write_scenario
from tools import check_dataset as check_tool
from tools import create_data as create_tool
from turbotrain.datasets import V2XPnPDataset, build_infos, load_infos, save_infos
from turbotrain.datasets.infos import Infos
from turbotrain.datasets.readers import DIALECTS, DataFileError, read_moment
from turbotrain.datasets.readers.dair_frames import DairFrame
from turbotrain.datasets.transforms.loading import LoadCooperativePoints
from turbotrain.errors import SettingError
from turbotrain.structures import corners_of, invert_rigid, transform_points

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAMES = ('dair_v2x_c', 'v2x_seq')
RANGE = [-60.0, -40.0, -5.0, 60.0, 40.0, 3.0]
PIPELINE = [
    dict(type='LoadCooperativePoints', zero_intensity=False),
    dict(type='ProjectPointsToEgo'),
    dict(type='CooperativeRangeFilter', point_cloud_range=RANGE),
    dict(type='PackCooperativeInputs'),
]


def open_as(root: Path, dataset: str, **settings) -> V2XPnPDataset:
    """The training split; classes of all kinds are one."""
    infos = build_infos(str(root), 'train', dataset)
    path = root / f'{dataset}_infos_train.npz'
    save_infos(str(path), infos)
    own = dict(num_history=2, num_future=3 * (dataset != 'dair_v2x_c'), comm_range=1e3)
    return V2XPnPDataset(
        path.name,
        str(root),
        class_map=dict(vehicle=infos.class_names.tolist()),
        pipeline=PIPELINE,
        test_mode=True,
        **own | settings,
    )


# The same scene in every layout.


@pytest.fixture(scope='module')
def scene(tmp_path_factory) -> dict[str, Path]:
    """One scene of a vehicle and a roadside unit, each of which labels what the other does not."""
    roots = {name: tmp_path_factory.mktemp('scene') / name for name in ('v2xpnp', *NAMES)}
    source = roots['v2xpnp']
    write_scenario(source, agents=(1, -1), frames=range(0, 40, 5), objects=14, seed=4)
    for agent, missing in ((1, (0, 5)), (-1, (1, 5))):
        for path in source.glob(f'train/*/{agent}/*.yaml'):
            content = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
            twin = yaml.safe_load((path.parents[1] / '1' / path.name).read_text())
            for key, item in list(content['vehicles'].items()):
                # The readers take what is over the vehicle's LiDAR for the vehicle itself.
                apart = np.subtract(item['location'], twin['lidar_pose'][:3])[:2]
                if key in missing or np.hypot(*apart) < 2:
                    del content['vehicles'][key]
            path.write_text(yaml.dump(content, Dumper=yaml.CSafeDumper))
    for name in NAMES:
        rewrite(source, roots[name], name)
    return roots


@pytest.mark.parametrize('dataset', NAMES)
def test_the_same_samples_from_every_layout(scene, dataset):
    changes = dict(num_future=0) if dataset == 'dair_v2x_c' else {}
    expected = open_as(scene['v2xpnp'], 'v2xpnp', **changes)
    found = open_as(scene[dataset], dataset)
    assert len(found) == len(expected) == 8
    for i in (0, 3, 7):
        one, other = expected[i], found[i]
        points, theirs = one['inputs']['points'], other['inputs']['points']
        assert points.shape == theirs.shape
        np.testing.assert_allclose(theirs[:, :3], points[:, :3], atol=1e-4)
        np.testing.assert_allclose(theirs[:, 3], points[:, 3], atol=0.5 / 255 + 1e-6)
        agents, their_agents = one['data_samples'].agents, other['data_samples'].agents
        for key, value in vars(agents).items():
            np.testing.assert_allclose(getattr(their_agents, key), value, atol=1e-5, err_msg=key)
        truth, theirs = (s['data_samples'].gt_instances_3d for s in (one, other))
        assert len(truth) == len(theirs) > 5
        order, their_order = (t.bboxes_3d.tensor[:, 0].argsort() for t in (truth, theirs))
        # Without tracks the past of an object is not known, and its id is of one frame alone.
        unknown = () if DIALECTS[dataset].tracks else ('track', 'history', 'velocity', 'accel')
        for key in [*truth.keys()]:
            if key.startswith(unknown):
                continue
            a, b = truth[key], theirs[key]
            a, b = (a.tensor, b.tensor) if key == 'bboxes_3d' else (a, b)
            torch.testing.assert_close(b[their_order], a[order], rtol=0, atol=1e-4)


@pytest.mark.parametrize('dataset', NAMES)
def test_good_sets_are_recognised_and_nothing_is_wrong(scene, dataset, monkeypatch, capsys):
    root = scene[dataset]
    assert run_main(check_tool, monkeypatch, root, '--workers', 1) == 0
    out = capsys.readouterr().out
    assert f'read as {dataset}: there is' in out
    kinds = {line[9:31].strip() for line in out.splitlines() if line.startswith('warning')}
    assert kinds - {'class not in map', 'yaw against motion'} == (
        {'no tracks', 'labels in view only'} if dataset == 'dair_v2x_c' else set()
    )
    words = dataset, '--root-path', root, '--workers', 1
    assert run_main(create_tool, monkeypatch, *words) == 0
    infos = load_infos(str(root / f'{dataset}_infos_train.npz'))
    assert str(infos.dataset) == dataset and infos.labelled.all() and not infos.lag.any()
    other = NAMES[1 - NAMES.index(dataset)]
    refused = run_main(create_tool, monkeypatch, other, '--root-path', root, '--workers', 1)
    assert 'missing' in str(refused) or dataset in str(refused)


@pytest.mark.parametrize('dataset', NAMES)
def test_the_other_set_s_correction_would_be_seen(scene, dataset, monkeypatch):
    """Corrections swapped between the sets put the roadside unit elsewhere."""
    good = build_infos(str(scene[dataset]), 'train', dataset).world_from_agent
    expected = build_infos(str(scene['v2xpnp']), 'train').world_from_agent
    np.testing.assert_allclose(good, expected, atol=1e-6)
    dialect = DIALECTS[dataset]
    swapped = type(dialect)(
        **vars(dialect) | dict(correction=DIALECTS[NAMES[dataset == NAMES[0]]].correction)
    )
    monkeypatch.setitem(DIALECTS, dataset, swapped)
    bad = build_infos(str(scene[dataset]), 'train', dataset).world_from_agent
    assert np.abs(bad - expected).max() > 0.02


@pytest.mark.parametrize('dataset', NAMES)
def test_configs_read_what_create_data_writes(scene, dataset):
    cfg = Config.fromfile(CONFIGS / f'_base_/datasets/{dataset}.py')
    settings = cfg.train_dataloader.dataset
    settings.pop('type')
    save_infos(
        str(scene[dataset] / settings.ann_file), build_infos(str(scene[dataset]), 'train', dataset)
    )
    sample = V2XPnPDataset(**settings | dict(data_root=str(scene[dataset])))[0]
    assert len(sample['data_samples'].agents) == 2 and len(sample['inputs']['points'])
    assert len(sample['data_samples'].gt_instances_3d)
    pretrain, finetune = (
        Config.fromfile(CONFIGS / f'turbotrain/{stage}_{dataset}.py')
        for stage in ('pretrain', 'finetune')
    )
    heads = dict.fromkeys(('velocity_head', 'trajectory_head') * (dataset == NAMES[0]))
    assert finetune.model == dict(pretrain.model.detector) | heads
    assert finetune.test_evaluator.class_names == ('vehicle',)


# Sets written by hand.


def rows_of(infos: Infos, agent: int) -> np.ndarray:
    return np.flatnonzero(infos.agent == agent)


@pytest.mark.parametrize(
    ('dataset', 'moved'),
    [('v2x_seq', [0.0, 1.0, 0.0]), ('dair_v2x_c', [1.0, 0.0, 0.0])],
)
def test_a_correction_along_the_axes_that_the_set_means(tmp_path, dataset, moved):
    """The vehicle heads along the world's y: its own x is that."""
    places = []
    for offset in ((0.0, 0.0), '', (1.0, 0.0)):
        root = tmp_path / str(len(places))
        write_set(root, dataset, [Frame(200, 0)], [Frame(10, 0)], [Pair(200, 10, offset)])
        infos = build_infos(str(root), 'train', dataset)
        (row,) = rows_of(infos, -1)
        places.append(infos.world_from_agent[row, :3, 3])
    np.testing.assert_allclose(places[0], [130.0, 200.0, 24.0], atol=1e-9)
    np.testing.assert_array_equal(places[0], places[1])
    np.testing.assert_allclose(places[2] - places[0], moved, atol=1e-9)


@pytest.mark.parametrize('yaw', np.deg2rad([20.0, 110.0, 200.0, 290.0]))
def test_corners_become_boxes_and_corners_again(tmp_path, yaw):
    entry = box('dair_v2x_c', 130.0, 210.0, yaw)
    root = write_set(
        tmp_path / 'set', 'dair_v2x_c', [Frame(200, 0)], [Frame(10, 0)], [Pair(200, 10)],
        labels={200: [entry]}, rotation=PLAIN, place=(100.0, 200.0, 0.0),
    )  # fmt: skip
    sample = open_as(root, 'dair_v2x_c', num_history=0)[0]
    found = sample['data_samples'].gt_instances_3d.bboxes_3d.tensor.double().numpy()
    assert abs((found[0, 6] - yaw + np.pi) % (2 * np.pi) - np.pi) < 1e-6
    np.testing.assert_allclose(found[0, 3:6], [4, 2, 1.5], atol=1e-6)
    corners = np.sort(corners_of(found)[0] + [100.0, 200.0, 0.0], axis=0)
    expected = np.sort(np.array(entry['world_8_points']), axis=0)
    np.testing.assert_allclose(corners, expected, atol=1e-3)


def test_one_car_in_both_sets_labels_is_in_one_place(tmp_path):
    """In the world for one set, in the vehicle's LiDAR frame for the other; far from the origin."""
    place = (3400.0, 2900.0, 21.0)
    world_from_vehicle = np.eye(4)
    world_from_vehicle[:3, :3], world_from_vehicle[:3, 3] = TURNED, place
    local = box('dair_v2x_c', 12.0, 3.0, 0.4)['world_8_points']
    corners = transform_points(world_from_vehicle, np.array(local)).tolist()
    labels = dict(
        dair_v2x_c=box('dair_v2x_c', world_8_points=corners), v2x_seq=box('v2x_seq', 12, 3, 0.4)
    )
    found = []
    for dataset in NAMES:
        root = write_set(
            tmp_path / dataset, dataset, [Frame(200, 0)], [Frame(10, 0)], [Pair(200, 10)],
            labels={200: [labels[dataset]]}, place=place,
        )  # fmt: skip
        sample = open_as(root, dataset, num_history=0, num_future=0)[0]
        found.append(sample['data_samples'].gt_instances_3d.bboxes_3d.tensor)
        assert sample['data_samples'].gt_instances_3d.labels_3d.tolist() == [0]
    torch.testing.assert_close(*found, rtol=0, atol=1e-3)
    torch.testing.assert_close(found[0][0, :2], torch.tensor([12.0, 3.0]), rtol=0, atol=1e-3)


@pytest.mark.parametrize('dataset', NAMES)
def test_of_two_pairs_the_nearer_and_a_missing_cloud_stays_empty(tmp_path, dataset):
    root = write_set(
        tmp_path, dataset,
        [Frame(200, 0), Frame(201, 100)],
        [Frame(10, 30), Frame(11, -20), Frame(6315, 110)],
        [Pair(200, 10), Pair(200, 11), Pair(201, 6315)],
        labels={200: [], 201: [box(dataset)]}, without=('velodyne/006315.pcd',),
    )  # fmt: skip
    data = open_as(root, dataset, num_history=0, num_future=0)
    assert [d['frame'] for d in map(data.get_data_info, range(2))] == [200, 201]
    first, second = (data.get_data_info(i) for i in range(2))
    assert first['cloud_paths'][1].endswith('000011.pcd')
    np.testing.assert_allclose(first['agents'].delays, [0, 0.02], atol=1e-6)
    assert second['agents'].ids.tolist() == [1, -1]
    assert second['agents'].valid.tolist() == [[True], [False]] and second['cloud_paths'][1] == ''


def test_pasts_are_each_side_s_own_frames(tmp_path):
    """Frames without a pair count; those of another sequence, or behind a gap, do not."""
    vehicles = [Frame(n, 100 * n) for n in range(200, 206)]
    vehicles += [Frame(n, 100 * n, '0002') for n in range(206, 209)]
    # The unit's numbers go on through the change of sequences; 13 is missing, 15 is between two.
    units = [Frame(n, 100 * (n + 190) + 20) for n in (10, 11, 12, 14)]
    units += [Frame(15, 100 * 205 - 48), Frame(16, 100 * 206, '0002'), Frame(17, 20700, '0002')]
    pairs = [Pair(202, 12), Pair(205, 15), Pair(207, 17)]
    root = write_set(tmp_path, 'v2x_seq', vehicles, units, pairs)
    data = open_as(root, 'v2x_seq', num_history=2, num_future=0, step=0.1)
    names = [[Path(p).stem for p in data.get_data_info(i)['cloud_paths']] for i in range(3)]
    assert names[0] == ['000200', '000201', '000202', '000010', '000011', '000012']
    assert names[1] == ['000203', '000204', '000205', '', '000014', '000015']
    assert names[2] == ['', '000206', '000207', '', '000016', '000017']
    assert [data.infos.labelled[data.infos.agent == a].sum() for a in (1, -1)] == [3, 3]


def test_lags_reach_the_delays(tmp_path):
    vehicles = [Frame(200 + i, 100 * i) for i in range(3)]
    units = [Frame(10, 0), Frame(11, 60), Frame(12, 245)]
    pairs = [Pair(200 + i, 10 + i) for i in range(3)]
    root = write_set(tmp_path, 'v2x_seq', vehicles, units, pairs)
    data = open_as(root, 'v2x_seq', num_history=0, num_future=0)
    lags = [data[i]['data_samples'].agents.delays[1] for i in range(3)]
    np.testing.assert_allclose(lags, [0.0, 0.04, -0.045], atol=1e-6)
    assert data[2]['data_samples'].agents.delays[0] == 0


def test_a_batch_is_cut_where_its_clock_jumps(tmp_path):
    vehicles = [Frame(200, 0), Frame(201, 100), Frame(202, 900), Frame(203, 1000)]
    units = [Frame(10 + i, frame.ms) for i, frame in enumerate(vehicles)]
    pairs = [Pair(200 + i, 10 + i) for i in range(4)]
    root = write_set(tmp_path, 'dair_v2x_c', vehicles, units, pairs)
    data = open_as(root, 'dair_v2x_c', num_history=1, step=0.1)
    assert data.infos.scenarios.tolist() == ['0001', '0001_000202']
    assert [data.get_data_info(i)['agents'].valid[0, 0] for i in range(4)] == [0, 1, 0, 1]


def test_futures_without_a_pair_are_masked_alone(tmp_path):
    vehicles = [Frame(200 + i, 100 * i) for i in range(31)]
    units = [Frame(10 + i, 100 * i) for i in range(31)]
    pairs = [Pair(200 + i, 10 + i) for i in range(0, 31, 5) if i != 15]
    labels = {p.vehicle: [box('v2x_seq', 10.0 + (p.vehicle - 200) / 5)] for p in pairs}
    root = write_set(
        tmp_path, 'v2x_seq', vehicles, units, pairs, labels, place=(3400.0, 2900.0, 21.0)
    )
    truth = open_as(root, 'v2x_seq', num_future=6)[0]['data_samples'].gt_instances_3d
    assert truth.future_valid.tolist() == [[True, True, False, True, True, True]]
    expected = torch.tensor([[11.0, 2], [12, 2], [0, 0], [14, 2], [15, 2], [16, 2]])
    torch.testing.assert_close(truth.future_trajectories[0], expected, rtol=0, atol=1e-3)


def test_clouds_of_both_sides_come_in_one_scale(tmp_path):
    root = write_set(
        tmp_path, 'v2x_seq', [Frame(200, 0)], [Frame(10, 0)], [Pair(200, 10)], labels={200: []}
    )
    points = np.array([[5, 1, -2, 0.2], [6, 2, -2, 1.0], [np.nan, 0, 0, 0.5]], dtype='<f4')
    bright = points * np.float32([1, 1, 1, 255])
    put(root / 'cooperative/label/000200.json', [box('v2x_seq')])
    for encoding in ('ascii', 'binary', 'binary_compressed'):
        for path, values in (('vehicle', bright), ('infrastructure', points)):
            (folder,) = (root / f'{path}-side/velodyne').glob('*.pcd')
            write_pcd(folder, values, encoding, packed_rgb=False)
        data = open_as(root, 'v2x_seq', num_history=0, num_future=0)
        data = data[0]['inputs']['points']
        np.testing.assert_allclose(data[:, 3], [0.2, 1.0, 0.2, 1.0], atol=1e-6)


def moment(root: Path, labels: list, dataset: str = 'v2x_seq', **how) -> object:
    """What a vehicle's frame with these cooperative labels says."""
    write_set(root, dataset, [Frame(200, 0)], [Frame(10, 0)], [Pair(200, 10)], labels={200: labels})
    calib, names = root / 'vehicle-side/calib', ('lidar_to_novatel', 'novatel_to_world')
    path = str(root / f'cooperative/{DIALECTS[dataset].label_folder}/000200.json')
    row = DairFrame(
        agent=1, frame=200, annotation=path, cloud='', labels=path,
        vehicle=tuple(str(calib / name / '000200.json') for name in names),
    )  # fmt: skip
    return read_moment(row, DIALECTS[dataset], **how)


def test_what_labels_may_be_like(tmp_path):
    texts = box('v2x_seq', type='truck', rotation='0.5')
    texts['3d_location'] = dict(x='10.5', y='-2e0', z='.5')
    labels = [
        texts,
        box('v2x_seq', 20, type='PEDESTRIAN', track_id=8),
        box('v2x_seq', 30),
        box('v2x_seq', 40, track_id='-1'),
        box('v2x_seq', 50, **{'3d_dimensions': dict(l=0, w=0.0, h='0')}),
        box('v2x_seq', 0.5, 0.5, track_id='000009'),
        box('v2x_seq', 60, type='Unknown_movable', track_id=''),
    ]
    odd = {}
    found = moment(tmp_path / 'a', labels, left_out=odd)
    assert found.types == ['Truck', 'Pedestrian', 'Car', 'Car', 'Unknown_movable']
    assert found.keys == ['0', '1', '2', '3', '6']
    assert found.ids[:2].tolist() == [7, 8] and len(set(found.ids.tolist())) == 5
    assert (found.ids[2:] >= 2**62).all()
    assert {key: o.kind for key, o in odd.items()} == {
        '2': 'doubled track', '4': 'box without a size', '5': 'own body',
    }  # fmt: skip
    vehicle = invert_rigid(found.world_from_agent)
    np.testing.assert_allclose(transform_points(vehicle, found.centres)[0], [10.5, -2, 0.5])
    np.testing.assert_allclose(found.angles[0, 1], 90 + np.rad2deg(0.5))
    np.testing.assert_allclose(found.extents[0], [2, 1, 0.75])
    again = moment(tmp_path / 'b', [box('dair_v2x_c', 130, 210)] * 2, 'dair_v2x_c')
    assert len(set(again.ids.tolist())) == 2 and again.types == ['Car', 'Car']


@pytest.mark.parametrize(
    ('dataset', 'change', 'word'),
    [
        ('v2x_seq', dict(type=3), r"'\[1\].type'"),
        ('v2x_seq', dict(type='x' * 90), r"'\[1\].type'"),
        ('v2x_seq', dict(track_id='a'), r"'\[1\].track_id'"),
        ('v2x_seq', dict(track_id=[]), r"'\[1\].track_id'"),
        ('v2x_seq', dict(rotation='nan'), r"'\[1\].rotation'"),
        ('v2x_seq', dict(rotation=True), r"'\[1\].rotation'"),
        ('v2x_seq', {'3d_location': dict(x=1, y=2)}, r"'\[1\].3d_location.z' is missing"),
        ('v2x_seq', {'3d_dimensions': dict(l=-4, w=2, h=1)}, r"'\[1\].3d_dimensions'"),
        ('v2x_seq', {'3d_location': dict(x=1e300, y=2, z=3)}, r"'\[1\].3d_location.x'"),
        ('dair_v2x_c', dict(world_8_points=[[1, 2, 3]] * 7), r"'\[1\].world_8_points'"),
        ('dair_v2x_c', dict(world_8_points=[[1, 2]] * 8), r"'\[1\].world_8_points'"),
        ('dair_v2x_c', dict(world_8_points=np.eye(8, 3).tolist()), 'corners of a box'),
        (
            'dair_v2x_c',
            dict(world_8_points=box('dair_v2x_c', 30)['world_8_points'][::-1]),
            'corners of a box',
        ),
    ],
)  # fmt: skip
def test_bad_objects_are_named_and_can_be_left_out(tmp_path, dataset, change, word):
    good = box(dataset, 130.0, 230.0) if dataset == 'dair_v2x_c' else box(dataset)
    labels = [good, good | change]
    with pytest.raises(DataFileError, match=word) as error:
        moment(tmp_path / 'a', labels, dataset)
    assert '000200.json' in str(error.value)
    bad = {}
    assert moment(tmp_path / 'b', labels, dataset, bad=bad).keys == ['0']
    assert list(bad) == ['1']
    assert moment(tmp_path / 'c', labels, dataset, skip={'1'}).keys == ['0']


@pytest.mark.parametrize(
    ('file', 'content', 'word'),
    [
        ('vehicle-side/data_info.json', '{}', 'expected a list at the top'),
        ('vehicle-side/data_info.json', '[' * 5000, 'not valid JSON'),
        ('vehicle-side/data_info.json', '[1]', r"'\[0\].pointcloud_path' is missing"),
        ('vehicle-side/data_info.json', '[{"frame_id": "../1"}]', r"'\[0\].frame_id'"),
        ('vehicle-side/data_info.json', '[{"frame_id": "1", "frame_id": "1"}]', 'there twice'),
        (
            'infrastructure-side/data_info.json',
            '[{"frame_id": "000010", "sequence_id": "../x", "pointcloud_timestamp": "1"}]',
            r"'\[0\].sequence_id'",
        ),
        (
            'infrastructure-side/data_info.json',
            '[{"frame_id": "000010", "sequence_id": "1", "pointcloud_timestamp": "now"}]',
            r"'\[0\].pointcloud_timestamp'",
        ),
        ('cooperative/data_info.json', '[{"vehicle_frame": 1}]', 'infrastructure_pointcloud_path'),
        (
            'cooperative/data_info.json',
            '[{"vehicle_frame": 1, "infrastructure_frame": 2, "system_error_offset": [1, 2]}]',
            r"system_error_offset.delta_x'",
        ),
        (SPLIT_FILES['v2x_seq'], '{"batch_split": {}}', "'cooperative_split' is missing"),
        (SPLIT_FILES['v2x_seq'], '{"cooperative_split": {"train": "all"}}', 'split.train'),
        (SPLIT_FILES['v2x_seq'], '{"cooperative_split": {"train": [true]}}', r'train\[0\]'),
        (SPLIT_FILES['v2x_seq'], '{"cooperative_split": {"train": ["000999"]}}', 'has a pair'),
        ('vehicle-side/calib/novatel_to_world/000200.json', '{"rotation": NaN}', 'not valid JSON'),
        ('cooperative/label/000200.json', '{}', 'expected a list at the top'),
    ],
)  # fmt: skip
def test_damaged_files_are_named(tmp_path, file, content, word):
    root = write_set(tmp_path, 'v2x_seq', [Frame(200, 0)], [Frame(10, 0)], [Pair(200, 10)])
    (root / file).write_text(content)
    with pytest.raises(DataFileError, match=word) as error:
        build_infos(str(root), 'train', 'v2x_seq')
    assert str(root / file) in str(error.value) and len(str(error.value)) < len(str(root)) + 400


def test_complemented_labels_are_a_choice_that_infos_record(tmp_path, monkeypatch):
    root = write_set(tmp_path, 'dair_v2x_c', [Frame(200, 0)], [Frame(10, 0)], [Pair(200, 10)])
    words = 'dair_v2x_c', '--root-path', root, '--workers', 1, '--labels', 'complemented'
    assert "'label_world_backup'" in run_main(create_tool, monkeypatch, *words)
    folder = root / 'cooperative/label_world'
    shutil.copytree(folder, root / 'cooperative/label_world_backup')
    put(folder / '000200.json', [box('dair_v2x_c', 130, 230), box('dair_v2x_c', 140, 230)])
    path = str(root / 'dair_v2x_c_infos_train.npz')
    for labels, count in (('complemented', 2), ('original', 1)):
        assert run_main(create_tool, monkeypatch, *words[:-1], labels) == 0
        infos = load_infos(path)
        assert (len(infos.object_id), str(infos.labels)) == (count, labels)
    with pytest.raises(SettingError, match='v2x_seq has the original ones only'):
        build_infos(str(root), 'train', 'v2x_seq', labels='complemented')


def test_no_future_is_asked_of_a_set_without_tracks(tmp_path):
    root = write_set(tmp_path, 'dair_v2x_c', [Frame(200, 0)], [Frame(10, 0)], [Pair(200, 10)])
    with pytest.raises(SettingError, match='num_future: expected 0 of dair_v2x_c, got 6.*tracks'):
        open_as(root, 'dair_v2x_c', num_future=6)


def test_a_split_without_labels_is_left_alone(tmp_path, monkeypatch, capsys):
    pairs = [Pair(200, 10), Pair(300, 20)]
    frames = [Frame(200, 0), Frame(300, 0, '0002')], [Frame(10, 0), Frame(20, 0, '0002')]
    labels = {200: [box('v2x_seq')]}
    root = write_set(tmp_path, 'v2x_seq', *frames, pairs, labels)
    splits = dict(train=['000200'], val=['000999'], test=['000300'], test_A=['000300'])
    put(root / SPLIT_FILES['v2x_seq'], dict(cooperative_split=splits))
    words = 'v2x_seq', '--root-path', root, '--workers', 1
    assert run_main(create_tool, monkeypatch, *words) == 0
    assert [path.name for path in root.glob('*.npz')] == ['v2x_seq_infos_train.npz']
    assert 'not one label' in run_main(create_tool, monkeypatch, *words, '--splits', 'test')


def test_clouds_in_the_folder_of_their_own_archive(tmp_path):
    root = write_set(tmp_path, 'dair_v2x_c', [Frame(200, 0)], [Frame(10, 0)], [Pair(200, 10)])
    for side in ('vehicle', 'infrastructure'):
        apart = root / f'cooperative-vehicle-infrastructure-{side}-side-velodyne'
        (root / f'{side}-side/velodyne').rename(apart)
    assert all(build_infos(str(root), 'train', 'dair_v2x_c').cloud != '')


@pytest.mark.parametrize('dataset', NAMES)
def test_every_trap_is_named(tmp_path, dataset, monkeypatch, capsys):
    vehicles = [Frame(200 + i, 100 * i) for i in range(8)] + [Frame(300, 90_000)]
    vehicles[7] = Frame(207, 760)  # which is 60 ms late, and a jump of the clock
    units = [Frame(10 + i, 100 * i) for i in range(7)] + [Frame(6315, 790), Frame(40, 90_000)]
    offsets = [(0.0, 0.0), (0.0, 0.0), (0.66, 0.1), (0.2, -1.1), (0.1, 0.1), (0.1, 0.1), (0.1, 0.1)]
    pairs = [Pair(200 + i, 10 + i, offset) for i, offset in enumerate(offsets)]
    pairs += [Pair(207, 6315), Pair(200, 11), Pair(300, 40), Pair(201, 77)]
    far = (130.0, 230.0) if dataset == 'dair_v2x_c' else (20.0, 5.0)
    labels = {
        200 + i: [box(dataset, *far, np.pi * (i == 3))] * (1 + (i == 2)) for i in range(8) if i != 5
    }
    own = (100.5, 200.0) if dataset == 'dair_v2x_c' else (0.5, 0.0)
    labels[204] = [box(dataset, *own), box(dataset, *far)]
    labels[300] = [box(dataset, *far)]
    root = write_set(
        tmp_path, dataset, vehicles, units, pairs, labels,
        split=[*range(200, 208), 300, 999],
        without=('velodyne/006315.pcd', 'virtuallidar_to_world/000040.json'),
    )  # fmt: skip
    pose = root / 'infrastructure-side/calib/virtuallidar_to_world/000012.json'
    content = json.loads(pose.read_text()) | dict(relative_error=dict(delta_x=0.1, delta_y=''))
    pose.write_text(json.dumps(content))
    run_main(check_tool, monkeypatch, root, '--workers', 1, '--json', tmp_path / 'found.json')
    found = {}
    for item in json.loads((tmp_path / 'found.json').read_text()):
        found.setdefault(item['kind'], []).append(item['path'] + ': ' + item['text'])
    for kind, word in {
        'no cloud': '006315',
        'no calibration': '000040',
        'pair without labels': '205',
        'two pairs': '000200',
        'pair without a frame': '000077',
        'frame without a pair': '000999',
        'clock jump': '000206 to 000207',
        'correction jump': '3 of 6 steps',
        'correction at its limit': '2 lie on their limits',
        'own body': '000204.json#0',
    }.items():
        assert any(word in text for text in found[kind]), (kind, found.get(kind))
    one_set = (
        {'doubled track': '000202.json#1', 'heading flips': 'object 7'}
        if dataset == 'v2x_seq'
        else {'no tracks': '', 'labels in view only': '', 'two corrections': '000012.json'}
    )
    for kind, word in one_set.items():
        assert any(word in text for text in found[kind]), (kind, found.get(kind))


def test_a_late_pair_is_named(tmp_path, monkeypatch, capsys):
    root = write_set(tmp_path, 'v2x_seq', [Frame(200, 0)], [Frame(10, -80)], [Pair(200, 10)])
    run_main(check_tool, monkeypatch, root, '--workers', 1)
    out = capsys.readouterr().out
    assert 'late pair' in out and 'first 80 ms in frame 200' in out


def test_microseconds_are_read_from_text_and_numbers(tmp_path):
    root = write_set(tmp_path, 'v2x_seq', [Frame(200, 0)], [Frame(10, -7)], [Pair(200, 10)])
    path = root / 'infrastructure-side/data_info.json'
    for stamp in (BEGIN - 7000, float(BEGIN - 7000)):
        content = json.loads(path.read_text())
        content[0]['pointcloud_timestamp'] = stamp
        path.write_text(json.dumps(content))
        infos = build_infos(str(root), 'train', 'v2x_seq')
        np.testing.assert_allclose(infos.lag[rows_of(infos, -1)], 0.007, atol=1e-6)


@pytest.mark.parametrize(('bytes_', 'brightest'), [(True, 255.0), (True, 1.0), (False, 255.0)])
def test_intensities_above_one_are_taken_for_bytes_where_a_set_has_both(bytes_, brightest):
    points = np.array([[9, 0, 0, 0], [9, 1, 0, brightest]], np.float32)
    load = LoadCooperativePoints(zero_intensity=False)
    expected = [0.0, brightest / 255 if bytes_ and brightest > 1 else brightest]
    assert load.clean(points, bytes_)[:, 3].tolist() == expected
