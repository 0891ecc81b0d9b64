"""From samples to predictions and losses."""

from .data_preprocessor import CooperativeDataPreprocessor
from .detectors import CooperativeDetector, MaskedPretrainer
from .encoders import DensePillarEncoder
from .fusion_necks import BaseFusionNeck, HeterogeneousAttentionFusion
from .heads import MaskedReconstructionHead, TrajectoryHead
from .masking import BEVCellMasking
from .temporal_necks import BaseTemporalNeck, TemporalAttentionNeck
from .warping import warp_bev

__all__ = [
    'BEVCellMasking',
    'BaseFusionNeck',
    'BaseTemporalNeck',
    'CooperativeDataPreprocessor',
    'CooperativeDetector',
    'DensePillarEncoder',
    'HeterogeneousAttentionFusion',
    'MaskedPretrainer',
    'MaskedReconstructionHead',
    'TemporalAttentionNeck',
    'TrajectoryHead',
    'warp_bev',
]
