"""From samples to predictions and losses."""

from .compression import FeatureCompression
from .data_preprocessor import CooperativeDataPreprocessor
from .detectors import CooperativeDetector, MaskedPretrainer
from .encoders import DensePillarEncoder, PortableSparseEncoder, SparsePillarEncoder
from .fusion_necks import (
    AttFuseFusion,
    BaseFusionNeck,
    DiscoNetFusion,
    FCooperFusion,
    HeterogeneousAttentionFusion,
    V2VNetFusion,
    V2XPnPFusion,
    V2XViTFusion,
)
from .heads import MaskedReconstructionHead, ReconstructionTarget, TrajectoryHead
from .masking import (
    BaseMasking,
    BEVCellCoMasking,
    BEVCellMasking,
    CloudLayout,
    MixedMasking,
    WholeAgentMasking,
    WholeFrameMasking,
)
from .temporal_necks import BaseTemporalNeck, RecurrentTemporalNeck, TemporalAttentionNeck
from .warping import warp_bev

__all__ = [
    'AttFuseFusion',
    'BEVCellCoMasking',
    'BEVCellMasking',
    'BaseFusionNeck',
    'BaseMasking',
    'BaseTemporalNeck',
    'CloudLayout',
    'CooperativeDataPreprocessor',
    'CooperativeDetector',
    'DensePillarEncoder',
    'DiscoNetFusion',
    'FCooperFusion',
    'FeatureCompression',
    'HeterogeneousAttentionFusion',
    'MaskedPretrainer',
    'MaskedReconstructionHead',
    'MixedMasking',
    'PortableSparseEncoder',
    'ReconstructionTarget',
    'RecurrentTemporalNeck',
    'SparsePillarEncoder',
    'TemporalAttentionNeck',
    'TrajectoryHead',
    'V2VNetFusion',
    'V2XPnPFusion',
    'V2XViTFusion',
    'WholeAgentMasking',
    'WholeFrameMasking',
    'warp_bev',
]
