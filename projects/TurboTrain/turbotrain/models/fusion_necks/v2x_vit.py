"""V2X-ViT: a transformer over agents and windows."""

from collections.abc import Sequence

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from ...errors import SettingError
from ..layers.heterogeneous_attention import HeterogeneousAttention
from ..layers.map_layers import MapLayerNorm, MapLinear
from ..layers.window_attention import MultiScaleWindowAttention
from .base import BaseFusionNeck

__all__ = ['V2XViTFusion']

_PERIODS = 4
_LONGEST = 8.0  # seconds


@MODELS.register_module()
class V2XViTFusion(BaseFusionNeck):
    """V2X-ViT: blocks of heterogeneous multi-agent attention and multi-scale windows.

    Delays are embedded first (delay-aware positional encoding). In each of ``depth`` blocks every
    agent attends to all agents, then to windows of its own map, then goes through a feed-forward
    layer, each with layer norm before and a residual connection around. The ego's map comes out.

    Source: V2X-ViT (Xu et al., ECCV 2022). The embedding is of real seconds in place of frame
    numbers; agents' speeds are not used (our choices).

    Args:
        channels: C.
        point_cloud_range: see :class:`BaseFusionNeck`.
        depth: how many blocks follow each other.
        num_heads: heads of the attention over agents.
        windows: cells along the sides of the windows.
        window_channels: channels of a head at each scale, of which there are as many as make C.
        feed_forward_channels: width of the feed-forward layer.
        dropout: after each part of a block.
    """

    def __init__(
        self,
        channels: int,
        point_cloud_range: list[float],
        depth: int = 3,
        num_heads: int = 8,
        windows: Sequence[int] = (4, 8, 16),
        window_channels: Sequence[int] = (16, 32, 64),
        feed_forward_channels: int = 256,
        dropout: float = 0.3,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(point_cloud_range, init_cfg)
        if depth < 1:
            raise SettingError(f'depth must be at least 1, got {depth}')
        periods = _LONGEST * 0.5 ** torch.arange(_PERIODS)
        self.register_buffer('frequencies', 2 * torch.pi / periods, persistent=False)
        self.delay_embedding = nn.Linear(2 * _PERIODS, channels)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                dict(
                    agents_norm=MapLayerNorm(channels),
                    agents=HeterogeneousAttention(channels, num_heads),
                    windows=nn.Sequential(
                        MapLayerNorm(channels),
                        MultiScaleWindowAttention(channels, windows, window_channels),
                        nn.Dropout(dropout),
                    ),
                    feed_forward=nn.Sequential(
                        MapLayerNorm(channels),
                        MapLinear(channels, feed_forward_channels),
                        nn.GELU(),
                        nn.Dropout(dropout),
                        MapLinear(feed_forward_channels, channels),
                        nn.Dropout(dropout),
                    ),
                )
            )
            for _ in range(depth)
        )
        self.dropout = nn.Dropout(dropout)

    def fuse(self, features: Tensor, kinds: Tensor, seen: Tensor, delays: Tensor) -> Tensor:
        """See :meth:`BaseFusionNeck.fuse`."""
        b, n = kinds.shape
        phase = delays[..., None] * self.frequencies
        late = self.delay_embedding(torch.cat([phase.sin(), phase.cos()], dim=-1))
        x = (features + late[..., None, None].to(features.dtype)).flatten(0, 1)
        x = x.contiguous(memory_format=torch.channels_last)  # so that no layer copies its maps
        for i, block in enumerate(self.blocks):
            # After the last exchange only the ego's map counts.
            r = 1 if i + 1 == len(self.blocks) else n
            normed = block['agents_norm'](x).view_as(features)
            heard = self.dropout(block['agents'](normed, kinds, seen, receivers=r))
            x = (x.view_as(features)[:, :r] + heard).flatten(0, 1)
            x = x + block['windows'](x)
            x = x + block['feed_forward'](x)
        return x
