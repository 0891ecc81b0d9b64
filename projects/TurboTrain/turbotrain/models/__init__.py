"""From samples to predictions and losses."""

from .. import patches  # noqa: F401 - before mmdet3d is imported
from .compression import FeatureCompression, PrincipalCompression
from .data_preprocessor import CooperativeDataPreprocessor
from .detectors import (
    CooperativeDetector,
    DistilledCooperativeDetector,
    LateFusionDetector,
)
from .encoders import DensePillarEncoder, PortableSparseEncoder, SparsePillarEncoder
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
from .heads import TrajectoryHead, VelocityHead
from .iou_assigner import BatchedMax3DIoUAssigner
from .map_encoder import (
    VectorMapAttention,
    VectorMapNeck,
    VectorMaps,
    nearest_polylines,
    stack_maps,
)
from .temporal_necks import (
    BaseTemporalNeck,
    FlowTemporalNeck,
    TemporalAttentionNeck,
)
from .warping import warp_bev, warp_by_flow

__all__ = [
    'AttFuseFusion',
    'BaseFusionNeck',
    'BaseTemporalNeck',
    'BatchedMax3DIoUAssigner',
    'CoBEVFlowFusion',
    'CooperativeDataPreprocessor',
    'CooperativeDetector',
    'DensePillarEncoder',
    'DiscoNetFusion',
    'DistilledCooperativeDetector',
    'FCooperFusion',
    'FFNetFusion',
    'FeatureCompression',
    'FlowTemporalNeck',
    'HeterogeneousAttentionFusion',
    'LateFusionDetector',
    'PortableSparseEncoder',
    'PrincipalCompression',
    'SparsePillarEncoder',
    'TemporalAttentionNeck',
    'TrajectoryHead',
    'V2VNetFusion',
    'V2XPnPFusion',
    'V2XViTFusion',
    'VectorMapAttention',
    'VectorMapNeck',
    'VectorMaps',
    'VelocityHead',
    'Where2commFusion',
    'nearest_polylines',
    'stack_maps',
    'warp_bev',
    'warp_by_flow',
]
