"""Importing this module registers all of TurboTrain's with mmengine and mmdet3d."""

from . import patches  # noqa: F401, I001 - before mmdet3d is imported
from . import balancing, datasets, engine, evaluation, models

__all__ = ['balancing', 'datasets', 'engine', 'evaluation', 'models']
