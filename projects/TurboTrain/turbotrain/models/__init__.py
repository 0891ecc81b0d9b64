"""From samples to predictions and losses."""

from .compression import FeatureCompression
from .data_preprocessor import CooperativeDataPreprocessor
from .detectors import CooperativeDetector, MaskedPretrainer
from .encoders import DensePillarEncoder, SparsePillarEncoder
from .fusion_necks import (
    AttFuseFusion,
    BaseFusionNeck,
    CoBEVFlowFusion,
    DiscoNetFusion,
    FCooperFusion,
    FFNetFusion,
    HeterogeneousAttentionFusion,
    V2VNetFusion,
    V2XPnPFusion,
    V2XViTFusion,
    Where2commFusion,
)
from .heads import MaskedReconstructionHead, TrajectoryHead
from .masking import BEVCellMasking
from .temporal_necks import (
    BaseTemporalNeck,
    FlowTemporalNeck,
    RecurrentTemporalNeck,
    TemporalAttentionNeck,
)
from .warping import warp_bev, warp_by_flow

__all__ = [
    'AttFuseFusion',
    'BEVCellMasking',
    'BaseFusionNeck',
    'BaseTemporalNeck',
    'CoBEVFlowFusion',
    'CooperativeDataPreprocessor',
    'CooperativeDetector',
    'DensePillarEncoder',
    'DiscoNetFusion',
    'FCooperFusion',
    'FFNetFusion',
    'FeatureCompression',
    'FlowTemporalNeck',
    'HeterogeneousAttentionFusion',
    'MaskedPretrainer',
    'MaskedReconstructionHead',
    'RecurrentTemporalNeck',
    'SparsePillarEncoder',
    'TemporalAttentionNeck',
    'TrajectoryHead',
    'V2VNetFusion',
    'V2XPnPFusion',
    'V2XViTFusion',
    'Where2commFusion',
    'warp_bev',
    'warp_by_flow',
]
