"""Simple forecasts on true boxes, of a set whose objects all drive straight on."""

import json
import sys

import numpy as np
import pytest
import torch

from tests.scenes import write_scenario
from tools.analysis import forecast_bounds
from turbotrain.datasets import build_infos, save_infos
from turbotrain.errors import UserError
from turbotrain.evaluation.motion_models import MOTION_MODELS, Tracks
from turbotrain.structures import driving_lanes

CLASSES = 'vehicle', 'pedestrian', 'truck'
TIMES = 0.5 * np.arange(1, 7)


def test_motion_models_by_hand():
    """1 m, then 2 m in half a second: 4 m/s over the last step, 4 m/s^2; and unknown pasts."""
    past = np.array([[[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]] * 3)
    known = np.array([[True, True, True], [False, True, True], [True, False, True]])
    tracks = Tracks(past, known, 0.5, np.zeros((0, 4)))
    found = {name: forecast(tracks, TIMES) for name, forecast in MOTION_MODELS.items()}
    np.testing.assert_allclose(found['lane following'], found['constant velocity'])
    assert (found['stationary'] == past[:, -1:]).all()
    steady = found['constant velocity'][..., 0]
    np.testing.assert_allclose(steady, [3 + 4 * TIMES, 3 + 4 * TIMES, 0 * TIMES + 3])
    # The gaps between positions grow by 1 m a step: 3, 4, 5, ... m.
    speeding = found['constant acceleration'][..., 0]
    np.testing.assert_allclose(speeding[0], 3 + np.cumsum([3.0, 4, 5, 6, 7, 8]))
    np.testing.assert_allclose(speeding[1:], steady[1:])
    noise = found['constant velocity, 0.5 m/s of noise an axis'] - found['constant velocity']
    assert (np.abs(noise) > 0).all()


def test_lanes_are_followed_by_who_drives_along_them():
    """A bend to the left of 20 m radius; who walks, or drives across it, goes straight on."""
    angle = np.radians(np.arange(0, 91, 2))
    lane = np.stack([20 * np.sin(angle), 20 - 20 * np.cos(angle)], axis=1)
    polylines = np.zeros((2, len(lane), 7))
    polylines[0, :, :2], polylines[0, :, 3:5] = lane, np.gradient(lane, axis=0)
    polylines[:, :, 6] = [[1], [2]]  # and a sidewalk without any extent
    (lanes,) = driving_lanes(torch.from_numpy(polylines)[None], torch.ones(1, 2, len(lane)) > 0)
    assert (~lanes.isnan().any(dim=1)).sum() == len(lane)
    steps = np.array([[4.0, 0], [0.5, 0], [0, 4.0]])
    past = np.stack([-2 * steps, -steps, 0 * steps], axis=1)
    tracks = Tracks(past, np.ones((3, 3), bool), 0.5, lanes.numpy())
    found = MOTION_MODELS['lane following'](tracks, TIMES)
    straight = MOTION_MODELS['constant velocity'](tracks, TIMES)
    turned = 8 * TIMES / 20  # rad
    on_the_bend = np.stack([20 * np.sin(turned), 20 - 20 * np.cos(turned)], axis=1)
    assert np.abs(found[0] - on_the_bend).max() < 0.8 < np.abs(straight[0] - on_the_bend).max()
    np.testing.assert_allclose(found[1:], straight[1:])


def test_who_drives_straight_on_is_foretold_by_its_velocity(tmp_path, monkeypatch, capsys):
    write_scenario(tmp_path, 'test', '2023-03-17-16-12-12_3_0', (1,), range(60), objects=6)
    infos = tmp_path / 'v2xpnp_infos_test.npz'
    save_infos(str(infos), build_infos(str(tmp_path), 'test'))
    monkeypatch.setattr(sys, 'argv', ['forecast_bounds.py', '--infos', str(infos)])
    forecast_bounds.main()
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    everything = found['all']
    assert everything['objects'] == sum(found[name]['objects'] for name in CLASSES)
    assert 'vehicle' in printed and everything['stationary']['EPA'] < 100
    # Frames 10 to 29: before them no velocity is known, behind them no future.
    assert everything['constant velocity']['EPA'] > everything['stationary']['EPA']
    monkeypatch.setattr(sys, 'argv', [*sys.argv, '--num-future', '200'])
    with pytest.raises(UserError, match='no object whose future is known for 100 s'):
        forecast_bounds.main()
