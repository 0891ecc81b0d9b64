"""What is odd in DAIR-V2X-C and V2X-Seq is named, and what is damaged refused."""

import json

import numpy as np
import pytest

from tests.commands import run_main
from tests.dair import (
    NAMES,
    SPLIT_FILES,
    Frame,
    Pair,
    box,
    write_set,
)
from tools import check_dataset as check_tool
from turbotrain.datasets import build_infos
from turbotrain.datasets.readers import DataFileError


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
