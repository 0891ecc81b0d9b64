import pytest
from mmengine.registry import init_default_scope

import projects.TurboTrain.turbotrain  # noqa: F401 - registers everything


@pytest.fixture(autouse=True, scope='session')
def _mmdet3d_scope():
    init_default_scope('mmdet3d')
