"""(agents, frames) to agents."""

from .attention import TemporalAttentionNeck
from .base import BaseTemporalNeck

__all__ = ['BaseTemporalNeck', 'TemporalAttentionNeck']
