"""V2XPnP's spatial fusion."""

from collections.abc import Sequence

from mmdet3d.registry import MODELS
from torch import Tensor, nn

from ..layers.map_layers import MapLayerNorm
from ..layers.window_attention import MultiScaleWindowAttention
from .heterogeneous_attention import HeterogeneousAttentionFusion

__all__ = ['V2XPnPFusion']


@MODELS.register_module()
class V2XPnPFusion(HeterogeneousAttentionFusion):
    """V2XPnP: each agent's self-spatial attention, then multi-agent attention for the ego.

    Each agent's map first goes through multi-scale windows of its own, where it is received: what
    is sent is the map before. The ego attends to all agents, and windows look beyond the cell once
    more.

    Source: V2XPnP (Zhou et al., ICCV 2025), where agents send what their windows give. Its sizes
    are not public; windows of the sizes of V2X-Real's V2X-ViT, and the order, are our choice.
    Attention to the vector map is a neck of its own, which goes with any method:
    ``VectorMapNeck``.

    Args:
        channels: C.
        point_cloud_range: see :class:`BaseFusionNeck`.
        num_heads: heads of the attention over agents.
        windows: cells along the sides of the windows.
        window_channels: channels of a head at each scale, of which there are as many as make C.
        norm_cfg: normalisation of the feed-forward layer.
    """

    def __init__(
        self,
        channels: int,
        point_cloud_range: list[float],
        num_heads: int = 8,
        windows: Sequence[int] = (2, 4, 8),
        window_channels: Sequence[int] = (16, 32, 64),
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(channels, point_cloud_range, num_heads, 0, norm_cfg, init_cfg)
        self.alone, self.together = (
            nn.Sequential(
                MapLayerNorm(channels),
                MultiScaleWindowAttention(channels, windows, window_channels),
            )
            for _ in range(2)
        )

    def fuse(self, features: Tensor, kinds: Tensor, seen: Tensor, delays: Tensor) -> Tensor:
        """See :meth:`BaseFusionNeck.fuse`."""
        maps = features.flatten(0, 1)
        features = (maps + self.alone(maps)).view_as(features)
        fused = super().fuse(features, kinds, seen, delays)
        return fused + self.together(fused)
