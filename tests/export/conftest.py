import importlib
import sys
import time
import types
from pathlib import Path

import mmdet3d
import numpy as np
import pytest

from tests.export.exports import SIZES
from tests.scenes import write_scenario
from turbotrain.datasets import build_infos, save_infos


@pytest.fixture(scope='session')
def root(tmp_path_factory) -> Path:
    """A vehicle and a roadside unit, tilted both, that see objects all round; three splits."""
    root = tmp_path_factory.mktemp('set')
    for seed, (split, size) in enumerate(SIZES.items()):
        frames = range(0, 5 * size, 5)
        write_scenario(root, split, agents=(1, -1), frames=frames, objects=9, seed=seed)
        save_infos(str(root / f'v2xpnp_infos_{split}.npz'), build_infos(str(root), split))
    return root


@pytest.fixture(scope='module')
def converters() -> types.ModuleType:
    """The scripts that mmdet3d installs: their package is called ``tools`` as ours is."""
    folder = Path(mmdet3d.__file__).parent / '.mim/tools/dataset_converters'
    package = types.ModuleType('mmdet3d_converters')
    package.__path__ = [str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, package.__name__, package)
        for name in ('kitti_converter', 'nuscenes_converter', 'update_infos_to_v2'):
            setattr(package, name, importlib.import_module(f'{package.__name__}.{name}'))
        patch.setattr(time, 'sleep', lambda seconds: None)  # they warn and wait
        # Which takes seconds to compile: counts points in the picture, which nothing here reads.
        patch.setattr(package.kitti_converter, '_calculate_num_points_in_gt', no_counts)
        yield package


def no_counts(data_path: str, infos: list[dict], relative_path: bool) -> None:
    for info in infos:
        info['annos']['num_points_in_gt'] = np.zeros(len(info['annos']['name']), np.int32)
