"""TurboTrain: networks that see and foresee with many agents, as an mmdet3d plugin.

Importing this package registers everything it has; configs do so by
``custom_imports = dict(imports=['projects.TurboTrain.turbotrain'])``.
"""

import sys
import warnings

import numpy as np
import torch

# spconv 2.3.6, which mmdet3d imports, uses names that today's torch warns of at every start.
warnings.filterwarnings('ignore', category=FutureWarning, module='spconv')

# mmdet3d 1.4's ObjectSample uses a name that NumPy 1.24 to 1.26 do not have; 2.0 has it again.
if 'long' not in vars(np):
    np.long = np.int64

# spconv describes each of its CUDA kernels when it is imported, which takes six seconds.
if not torch.cuda.is_available() and 'spconv.algo' not in sys.modules:
    import spconv.core

    spconv.core.ALL_NATIVE_PARAMS = spconv.core.ALL_IMPGEMM_PARAMS = ()

from . import balancing, datasets, engine, evaluation, models  # noqa: E402

__all__ = ['balancing', 'datasets', 'engine', 'evaluation', 'models']
