"""Heads that mmdet3d has not."""

from .trajectory_head import TrajectoryHead
from .velocity_head import Motion, VelocityHead

__all__ = [
    'Motion',
    'TrajectoryHead',
    'VelocityHead',
]
