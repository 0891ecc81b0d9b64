"""Samples and predictions in the files of other projects."""

from .folder import begin_export
from .kitti import KITTI_NAMES, write_kitti, write_kitti_predictions
from .moments import Moment, Moments, predicted_moments, split_of
from .nuscenes import NUSCENES_NAMES, write_nuscenes, write_nuscenes_predictions

__all__ = [
    'KITTI_NAMES',
    'NUSCENES_NAMES',
    'Moment',
    'Moments',
    'begin_export',
    'predicted_moments',
    'split_of',
    'write_kitti',
    'write_kitti_predictions',
    'write_nuscenes',
    'write_nuscenes_predictions',
]
