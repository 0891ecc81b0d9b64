from pathlib import Path

import pytest

from tests.online.recordings import NAME
from tests.scenes import write_scenario
from turbotrain.simulation.writer import write_vector_map
from turbotrain.structures import Lane, MapPoint


@pytest.fixture(scope='session')
def scenario(tmp_path_factory) -> Path:
    """Four agents, a cloud every half second; of agent 2 and -1 something is missing."""
    root = tmp_path_factory.mktemp('online')
    folder = write_scenario(root, name=NAME, frames=range(0, 30, 5))
    (folder / '2/000015.bin').unlink()
    for suffix in ('bin', 'yaml'):
        (folder / f'-1/000010.{suffix}').unlink()
    (folder / '-2/000025.bin').unlink()
    (root / 'map').mkdir()
    line = [MapPoint(3.0 * i, 1.0) for i in range(12)]
    write_vector_map(root / 'map/v2x_intersection_vector_map.pkl', [Lane(1, 2, 1, line)])
    return folder
