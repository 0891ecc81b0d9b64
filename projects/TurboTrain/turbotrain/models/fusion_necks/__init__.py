"""Agents to ego: one file per method."""

from .att_fuse import AttFuseFusion
from .base import BaseFusionNeck
from .cobevflow import CoBEVFlowFusion
from .disconet import DiscoNetFusion
from .f_cooper import FCooperFusion
from .ffnet import FFNetFusion
from .heterogeneous_attention import HeterogeneousAttentionFusion
from .v2vnet import V2VNetFusion
from .v2x_vit import V2XViTFusion
from .v2xpnp import V2XPnPFusion
from .where2comm import Where2commFusion

__all__ = [
    'AttFuseFusion',
    'BaseFusionNeck',
    'CoBEVFlowFusion',
    'DiscoNetFusion',
    'FCooperFusion',
    'FFNetFusion',
    'HeterogeneousAttentionFusion',
    'V2VNetFusion',
    'V2XPnPFusion',
    'V2XViTFusion',
    'Where2commFusion',
]
