"""Building the parts of a model with the settings that they share, given to the model once."""

import inspect
from collections.abc import Mapping
from typing import Any

from mmdet3d.registry import MODELS

__all__ = ['build_part']


def build_part(config: Mapping | None, **shared: Any) -> Any:
    """Build a part, or nothing of None.

    Args:
        config: of the part, with ``type``.
        shared: settings that the part gets if its class takes an argument of that name and its
            config leaves it out. One that is None is not given.
    """
    if config is None:
        return None
    kind = config['type']
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    taken = inspect.signature(kind).parameters if kind is not None else {}
    given = {key: value for key, value in shared.items() if key in taken and value is not None}
    return MODELS.build({**given, **config})
