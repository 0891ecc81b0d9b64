"""Points to bird's-eye-view features."""

from .pillar_encoder import DensePillarEncoder

__all__ = ['DensePillarEncoder']
