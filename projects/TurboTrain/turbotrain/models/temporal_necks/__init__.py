"""(agents, frames) to agents."""

from .attention import TemporalAttentionNeck
from .base import BaseTemporalNeck
from .flow import FlowTemporalNeck

__all__ = [
    'BaseTemporalNeck',
    'FlowTemporalNeck',
    'TemporalAttentionNeck',
]
