"""Heads that mmdet3d has not."""

from .reconstruction_head import MaskedReconstructionHead, ReconstructionTarget
from .trajectory_head import TrajectoryHead
from .velocity_head import Motion, VelocityHead

__all__ = [
    'MaskedReconstructionHead',
    'Motion',
    'ReconstructionTarget',
    'TrajectoryHead',
    'VelocityHead',
]
