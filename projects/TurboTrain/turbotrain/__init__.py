"""TurboTrain: networks that see and foresee with many agents, as an mmdet3d plugin.

Configs import ``turbotrain.plugin``, which registers everything, or the one part that they want,
such as ``turbotrain.balancing``. In mmdet3d's own tree the same files go by the name of
``projects.TurboTrain.turbotrain``.
"""

import sys

_others = {name for name in sys.modules if name.rpartition('.')[2] == 'turbotrain'} - {__name__}
if _others:
    raise RuntimeError(
        f'TurboTrain is imported as {__name__!r} here and as {_others.pop()!r} elsewhere in this '
        'process, but its modules register once; use one name in configs and code'
    )
