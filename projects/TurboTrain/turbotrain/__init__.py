"""TurboTrain: networks that see and foresee with many agents, as an mmdet3d plugin.

Importing this package registers everything it has; configs do so by
``custom_imports = dict(imports=['projects.TurboTrain.turbotrain'])``.
"""

import warnings

import numpy as np

# spconv 2.3.6, which mmdet3d imports, uses names that today's torch warns of at every start.
warnings.filterwarnings('ignore', category=FutureWarning, module='spconv')

# mmdet3d 1.4's ObjectSample uses a name that NumPy 1.24 to 1.26 do not have; 2.0 has it again.
if 'long' not in vars(np):
    np.long = np.int64

from . import balancing, datasets, engine, evaluation, models  # noqa: E402

__all__ = ['balancing', 'datasets', 'engine', 'evaluation', 'models']
