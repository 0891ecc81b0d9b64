"""(agents, frames) to agents."""

from .attention import TemporalAttentionNeck
from .base import BaseTemporalNeck
from .recurrent import RecurrentTemporalNeck

__all__ = ['BaseTemporalNeck', 'RecurrentTemporalNeck', 'TemporalAttentionNeck']
