"""Agents to ego: one file per method."""

from .att_fuse import AttFuseFusion
from .base import BaseFusionNeck
from .disconet import DiscoNetFusion
from .f_cooper import FCooperFusion
from .heterogeneous_attention import HeterogeneousAttentionFusion
from .v2vnet import V2VNetFusion
from .v2x_vit import V2XViTFusion
from .v2xpnp import V2XPnPFusion

__all__ = [
    'AttFuseFusion',
    'BaseFusionNeck',
    'DiscoNetFusion',
    'FCooperFusion',
    'HeterogeneousAttentionFusion',
    'V2VNetFusion',
    'V2XPnPFusion',
    'V2XViTFusion',
]
