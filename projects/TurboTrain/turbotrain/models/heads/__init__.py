"""Heads that mmdet3d has not."""

from .reconstruction_head import MaskedReconstructionHead
from .trajectory_head import TrajectoryHead

__all__ = ['MaskedReconstructionHead', 'TrajectoryHead']
