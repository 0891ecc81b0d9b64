"""Weights for every cell of every agent, by a small network."""

import torch
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from ..layers.map_layers import MAP_NORM
from ..layers.masked_softmax import masked_softmax
from .base import BaseFusionNeck

__all__ = ['DiscoNetFusion']


@MODELS.register_module()
class DiscoNetFusion(BaseFusionNeck):
    r"""DiscoNet's matrix-valued edge weights: how much each cell of each agent counts.

    .. math:: F = \sum_j \mathrm{softmax}_j(w([F_j, F_0]))\, F_j

    with w a stack of 1x1 convolutions to one channel. DiscoNet's distillation, from a teacher that
    sees all points at once, is in ``DistilledCooperativeDetector``.

    Source: DiscoNet (Li et al., NeurIPS 2021); widths as in CoBEVFlow's version of it.

    Args:
        channels: C.
        point_cloud_range: see :class:`BaseFusionNeck`.
        hidden_channels: widths of the weight network.
        norm_cfg: its normalisation.
    """

    def __init__(
        self,
        channels: int,
        point_cloud_range: list[float],
        hidden_channels: tuple[int, ...] = (128, 32, 8),
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(point_cloud_range, init_cfg)
        norm_cfg = norm_cfg or MAP_NORM
        widths = (2 * channels, *hidden_channels)
        self.weight = nn.Sequential(
            *(
                ConvModule(wide, narrow, 1, bias=False, norm_cfg=norm_cfg)
                for wide, narrow in zip(widths, hidden_channels, strict=False)
            ),
            nn.Conv2d(hidden_channels[-1], 1, 1),
        )

    def fuse(self, features: Tensor, kinds: Tensor, seen: Tensor, delays: Tensor) -> Tensor:
        """See :meth:`BaseFusionNeck.fuse`."""
        ego = features[:, :1].expand_as(features)
        # Batch norm must not count the places that fill up the rectangle.
        there = seen.flatten(2).any(dim=2)
        there[:, 0] = True
        pairs = torch.cat([features[there], ego[there]], dim=1)
        known = self.weight(pairs)
        logits = known.new_zeros(*there.shape, *known.shape[1:]).masked_scatter(
            there[..., None, None, None], known
        )
        return (masked_softmax(logits, seen, dim=1).to(features.dtype) * features).sum(dim=1)
