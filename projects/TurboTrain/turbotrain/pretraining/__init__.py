"""Stage 1: pretraining of a detector's trunk by masked reconstruction."""

from .masked_pretrainer import MaskedPretrainer
from .masking import (
    BaseMasking,
    BEVCellCoMasking,
    BEVCellMasking,
    CloudLayout,
)
from .reconstruction_head import MaskedReconstructionHead, ReconstructionTarget

__all__ = [
    'BEVCellCoMasking',
    'BEVCellMasking',
    'BaseMasking',
    'CloudLayout',
    'MaskedPretrainer',
    'MaskedReconstructionHead',
    'ReconstructionTarget',
]
