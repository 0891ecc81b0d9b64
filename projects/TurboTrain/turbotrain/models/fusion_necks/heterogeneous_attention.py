"""Attention over agents, for the ego, whose weights know vehicles from roadside units."""

from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from ..layers.heterogeneous_attention import HeterogeneousAttention
from ..layers.map_layers import MAP_NORM, map_feed_forward
from .base import BaseFusionNeck

__all__ = ['HeterogeneousAttentionFusion']


@MODELS.register_module()
class HeterogeneousAttentionFusion(BaseFusionNeck):
    """Multi-agent spatial attention of V2XPnP at each BEV cell, for the ego.

    The ego's map plus its :class:`HeterogeneousAttention` over all agents; a feed-forward layer and
    ``num_convs`` residual convolutions, which look beyond the cell, follow; the latter stand where
    V2XPnP has windowed self-attention (our choice; :class:`V2XPnPFusion` has the windows).

    Source: V2XPnP (Zhou et al., ICCV 2025).

    Args:
        channels: C.
        point_cloud_range: see :class:`BaseFusionNeck`.
        num_heads: of the attention; has to divide the channels.
        num_convs: 3x3 convolutions after the attention.
        norm_cfg: mmcv's config of the normalisation layers.
    """

    def __init__(
        self,
        channels: int,
        point_cloud_range: list[float],
        num_heads: int = 4,
        num_convs: int = 2,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(point_cloud_range, init_cfg)
        self.attention = HeterogeneousAttention(channels, num_heads)
        norm_cfg = norm_cfg or MAP_NORM
        self.feed_forward = map_feed_forward(channels, norm_cfg)
        self.convs = nn.ModuleList(
            ConvModule(channels, channels, 3, padding=1, bias=False, norm_cfg=norm_cfg)
            for _ in range(num_convs)
        )

    def fuse(self, features: Tensor, kinds: Tensor, seen: Tensor, delays: Tensor) -> Tensor:
        """See :meth:`BaseFusionNeck.fuse`."""
        fused = features[:, 0] + self.attention(features, kinds, seen, receivers=1)[:, 0]
        fused = fused + self.feed_forward(fused)
        for conv in self.convs:
            fused = fused + conv(fused)
        return fused
