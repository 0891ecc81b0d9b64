"""From samples to predictions and losses."""

from .compression import FeatureCompression
from .data_preprocessor import CooperativeDataPreprocessor
from .detectors import (
    CooperativeDetector,
    DistilledCooperativeDetector,
    LateFusionDetector,
    MaskedPretrainer,
)
from .encoders import DensePillarEncoder, SparsePillarEncoder
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
from .heads import MaskedReconstructionHead, TrajectoryHead
from .map_encoder import (
    VectorMapAttention,
    VectorMapNeck,
    VectorMaps,
    nearest_polylines,
    stack_maps,
)
from .masking import BEVCellMasking
from .temporal_necks import BaseTemporalNeck, RecurrentTemporalNeck, TemporalAttentionNeck
from .warping import warp_bev

__all__ = [
    'AttFuseFusion',
    'BEVCellMasking',
    'BaseFusionNeck',
    'BaseTemporalNeck',
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
    'nearest_polylines',
    'stack_maps',
    'warp_bev',
]
