"""Which frames of the two sides belong together, and when each was recorded."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.commands import run_main
from tests.dair import (
    BEGIN,
    NAMES,
    SPLIT_FILES,
    Frame,
    Pair,
    box,
    open_as,
    put,
    write_set,
)
from tools import create_data as create_tool
from turbotrain.datasets import build_infos


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
        (row,) = np.flatnonzero(infos.agent == -1)
        places.append(infos.world_from_agent[row, :3, 3])
    np.testing.assert_allclose(places[0], [130.0, 200.0, 24.0], atol=1e-9)
    np.testing.assert_array_equal(places[0], places[1])
    np.testing.assert_allclose(places[2] - places[0], moved, atol=1e-9)


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


def test_microseconds_are_read_from_text_and_numbers(tmp_path):
    root = write_set(tmp_path, 'v2x_seq', [Frame(200, 0)], [Frame(10, -7)], [Pair(200, 10)])
    path = root / 'infrastructure-side/data_info.json'
    for stamp in (BEGIN - 7000, float(BEGIN - 7000)):
        content = json.loads(path.read_text())
        content[0]['pointcloud_timestamp'] = stamp
        path.write_text(json.dumps(content))
        infos = build_infos(str(root), 'train', 'v2x_seq')
        np.testing.assert_allclose(infos.lag[np.flatnonzero(infos.agent == -1)], 0.007, atol=1e-6)


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
