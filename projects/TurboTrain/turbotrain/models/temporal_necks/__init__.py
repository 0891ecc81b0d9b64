"""(agents, frames) to agents."""

from .attention import TemporalAttentionNeck
from .base import BaseTemporalNeck
from .flow import FlowTemporalNeck
from .recurrent import RecurrentTemporalNeck

__all__ = [
    'BaseTemporalNeck',
    'FlowTemporalNeck',
    'RecurrentTemporalNeck',
    'TemporalAttentionNeck',
]
