import signal
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope, init_default_scope

import turbotrain.plugin  # noqa: F401 - registers everything
from tests.simulation.tiny import TINY
from turbotrain.datasets import build_infos, save_infos
from turbotrain.simulation import simulate_dataset

# What a shell has put into the background is deaf to SIGINT, and so would be all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope='session')
def _mmdet3d_scope():
    init_default_scope('mmdet3d')


@pytest.fixture(autouse=True, scope='module')
def _scope_for_one_module():
    """Fixtures of a module are made outside of any test: what another module built is forgotten."""
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        yield


@pytest.fixture(autouse=True)
def _scope_for_one_test():
    """A runner that a test builds sets the default scope; the next test must not see it."""
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        yield


@pytest.fixture(scope='session')
def tiny_set(tmp_path_factory) -> Path:
    """One tiny simulated set for all tests."""
    root = tmp_path_factory.mktemp('simulated') / 'tiny'
    simulate_dataset(root, TINY, workers=2)
    return root


@pytest.fixture(scope='session')
def infos(tiny_set, tmp_path_factory) -> Path:
    """The info file of its training split."""
    path = tmp_path_factory.mktemp('infos') / 'train.npz'
    save_infos(str(path), build_infos(str(tiny_set), 'train'))
    return path
