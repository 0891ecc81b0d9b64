"""What labels of DAIR-V2X-C and V2X-Seq say, and which of them are bad."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.commands import run_main
from tests.dair import NAMES, PLAIN, TURNED, Frame, Pair, box, open_as, put, write_set
from tools import create_data as create_tool
from turbotrain.datasets import build_infos, load_infos
from turbotrain.datasets.readers import DIALECTS, DataFileError, read_moment
from turbotrain.datasets.readers.dair_frames import DairFrame
from turbotrain.errors import SettingError
from turbotrain.structures import corners_of, invert_rigid, transform_points


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
