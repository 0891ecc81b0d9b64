"""Which objects saved predictions are compared with."""

import sys

import numpy as np

from projects.TurboTrain.turbotrain.datasets import V2XPnPDataset, build_infos, save_infos
from projects.TurboTrain.turbotrain.structures import corners_of
from tests.scenes import write_scenario
from tools.analysis import evaluate


def test_heights_and_corners_are_those_asked_for(tmp_path, monkeypatch):
    write_scenario(tmp_path, 'test', frames=range(15), objects=12)
    infos = tmp_path / 'infos.npz'
    save_infos(str(infos), build_infos(str(tmp_path), 'test'))
    everything = V2XPnPDataset('infos.npz', str(tmp_path), ego='every', pipeline=[])
    info = everything.get_data_info(0)
    corners = corners_of(info['gt_bboxes_3d'])
    sample = dict(scenario=info['scenario'], frame=info['frame'], ego=int(info['agents'].ids[0]))
    middle = float(np.median(corners[..., 2]))
    found = []
    for z_range, least in (((-15.0, 15.0), 8), ((-15.0, middle), 8), ((-15.0, middle), 2)):
        low, high = np.array([[-70.4, -40.0, z_range[0]], [70.4, 40.0, z_range[1]]])
        inside = ((corners > low) & (corners < high)).all(axis=-1).sum(axis=1) >= least
        words = ['--predictions', 'p', '--infos', str(infos), '--min-corners', str(least)]
        words += ['--z-range', *map(str, z_range)]
        monkeypatch.setattr(sys, 'argv', ['evaluate.py', *words])
        truth = evaluate.open_truth(evaluate.parse_args()).of(sample)
        np.testing.assert_allclose(
            truth['bboxes_3d'].tensor.numpy(), info['gt_bboxes_3d'][inside], atol=1e-5
        )
        found.append(int(inside.sum()))
    assert found[0] == found[2] > found[1]
