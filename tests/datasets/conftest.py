from pathlib import Path

import pytest

from tests.scenes import write_scenario
from turbotrain.datasets import V2XPnPDataset, build_infos, save_infos

PIPELINE = [
    dict(type='LoadCooperativePoints'),
    dict(type='LoadVectorMap'),
    dict(type='ProjectPointsToEgo'),
    dict(type='PackCooperativeInputs'),
]


@pytest.fixture(scope='session')
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two intersections and one corridor, 60 frames each, a cloud every 5."""
    root = tmp_path_factory.mktemp('data')
    write_scenario(root, name='2023-03-17-16-12-12_3_0')
    write_scenario(root, name='2023-03-18-16-12-12_4_0', seed=1, agents=(2, -1))
    write_scenario(root, name='2023-04-07-15-02-15_1_1', seed=2, agents=(1, 2))
    return root


@pytest.fixture
def make_dataset(data_root: Path):
    def make(root: Path = data_root, **kwargs) -> V2XPnPDataset:
        path = root / 'infos.npz'
        if not path.exists():
            save_infos(str(path), build_infos(str(root), 'train'))
        kwargs.setdefault('pipeline', PIPELINE)
        kwargs.setdefault('test_mode', True)
        return V2XPnPDataset('infos.npz', str(root), **kwargs)

    return make
