"""One tiny simulated set for all tests: a four-way intersection and a corridor, 4 s each."""

from pathlib import Path

import pytest

from projects.TurboTrain.turbotrain.simulation import SensorOptions, SetOptions, simulate_dataset

TINY = SetOptions(
    seed=3,
    intersections=(1, 0, 0),
    corridors=(0, 0, 1),
    sensors=SensorOptions(duration=4.0, beam_step=4, azimuth_step=12),
)


@pytest.fixture(scope='session')
def tiny_set(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('simulated') / 'tiny'
    simulate_dataset(root, TINY, workers=2)
    return root
