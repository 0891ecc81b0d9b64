"""What is changed in other people's libraries; parts that need mmdet3d import this first.

One change more is made by ``plugin.py``: mmengine's reading of checkpoint files.
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
