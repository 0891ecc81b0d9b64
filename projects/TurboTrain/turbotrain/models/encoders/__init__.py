"""Points to bird's-eye-view features."""

from .pillar_encoder import DensePillarEncoder
from .sparse_pillar_encoder import SparsePillarEncoder

__all__ = ['DensePillarEncoder', 'SparsePillarEncoder']
