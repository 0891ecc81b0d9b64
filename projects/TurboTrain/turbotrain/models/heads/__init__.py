"""Heads that mmdet3d has not."""

from .reconstruction_head import MaskedReconstructionHead, ReconstructionTarget
from .trajectory_head import TrajectoryHead

__all__ = ['MaskedReconstructionHead', 'ReconstructionTarget', 'TrajectoryHead']
