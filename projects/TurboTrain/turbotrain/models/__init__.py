"""From samples to predictions and losses."""

from .compression import FeatureCompression
from .data_preprocessor import CooperativeDataPreprocessor
from .detectors import (
    CooperativeDetector,
    DistilledCooperativeDetector,
    LateFusionDetector,
    MaskedPretrainer,
)
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
from .map_encoder import (
    VectorMapAttention,
    VectorMapNeck,
    VectorMaps,
    nearest_polylines,
    stack_maps,
)
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
    'DistilledCooperativeDetector',
    'FCooperFusion',
    'FeatureCompression',
    'HeterogeneousAttentionFusion',
    'LateFusionDetector',
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
    'VectorMapAttention',
    'VectorMapNeck',
    'VectorMaps',
    'WholeAgentMasking',
    'WholeFrameMasking',
    'nearest_polylines',
    'stack_maps',
    'warp_bev',
]
