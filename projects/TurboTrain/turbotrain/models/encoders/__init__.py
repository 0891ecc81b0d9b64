"""From points or voxels to bird's-eye-view maps."""

from .pillar_encoder import DensePillarEncoder
from .sparse_pillar_encoder import SparsePillarEncoder
from .sparse_voxel_encoder import PortableSparseEncoder

__all__ = ['DensePillarEncoder', 'PortableSparseEncoder', 'SparsePillarEncoder']
