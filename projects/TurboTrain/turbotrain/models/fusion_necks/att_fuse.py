"""Self-attention over agents without learned weights."""

from mmdet3d.registry import MODELS
from torch import Tensor

from ..layers.masked_softmax import masked_softmax
from .base import BaseFusionNeck

__all__ = ['AttFuseFusion']


@MODELS.register_module()
class AttFuseFusion(BaseFusionNeck):
    r"""OPV2V's attentive fusion: at each cell the ego's feature asks all agents' features.

    .. math:: F = \sum_j \mathrm{softmax}_j(F_0 \cdot F_j / \sqrt{C})\, F_j

    Source: OPV2V (Xu et al., ICRA 2022). It has no parameters.

    Args:
        point_cloud_range: see :class:`BaseFusionNeck`.
    """

    def fuse(self, features: Tensor, kinds: Tensor, seen: Tensor, delays: Tensor) -> Tensor:
        """See :meth:`BaseFusionNeck.fuse`."""
        logits = (features[:, :1] * features).sum(dim=2, keepdim=True) / features.shape[2] ** 0.5
        return (masked_softmax(logits, seen, dim=1).to(features.dtype) * features).sum(dim=1)
