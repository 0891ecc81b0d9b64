"""TurboTrain: networks that see and foresee with many agents, as an mmdet3d plugin.

Importing this package registers everything it has; configs do so by
``custom_imports = dict(imports=['projects.TurboTrain.turbotrain'])``.
"""

import warnings

# spconv 2.3.6, which mmdet3d imports, uses names that today's torch warns of at every start.
warnings.filterwarnings('ignore', category=FutureWarning, module='spconv')

from . import balancing, datasets, engine, evaluation, models  # noqa: E402

__all__ = ['balancing', 'datasets', 'engine', 'evaluation', 'models']
