"""Importing this module registers all of TurboTrain's with mmengine and mmdet3d.

It has mmengine look at checkpoint files before torch reads them, too.
"""

from typing import Any

from mmengine.runner import CheckpointLoader

from . import (
    balancing,
    datasets,
    engine,
    evaluation,
    models,
    patches,  # noqa: F401 - before mmdet3d is imported
    pretraining,
)

__all__ = ['balancing', 'datasets', 'engine', 'evaluation', 'models', 'pretraining']


# Its name is what mmengine logs.
@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any) -> dict:
    """What mmengine calls for a path without a scheme."""
    return engine.read_checkpoint(filename, map_location)
