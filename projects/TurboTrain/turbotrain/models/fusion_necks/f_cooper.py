"""Element-wise maximum over agents."""

import torch
from mmdet3d.registry import MODELS
from torch import Tensor

from .base import BaseFusionNeck

__all__ = ['FCooperFusion']


@MODELS.register_module()
class FCooperFusion(BaseFusionNeck):
    """F-Cooper's fusion: the element-wise maximum over the agents that see a cell.

    Source: F-Cooper (Chen et al., SEC 2019).

    Args:
        point_cloud_range: see :class:`BaseFusionNeck`.
    """

    def fuse(self, features: Tensor, kinds: Tensor, seen: Tensor, delays: Tensor) -> Tensor:
        """See :meth:`BaseFusionNeck.fuse`."""
        highest = features.masked_fill(~seen, -torch.inf).amax(dim=1)
        return highest.masked_fill(~seen.any(dim=1), 0.0)
