"""Agents to ego: one file per method."""

from .base import BaseFusionNeck
from .heterogeneous_attention import HeterogeneousAttentionFusion

__all__ = ['BaseFusionNeck', 'HeterogeneousAttentionFusion']
