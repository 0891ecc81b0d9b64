"""Attention over time at each BEV cell, as in V2XPnP."""

import torch
from mmcv.cnn import build_norm_layer
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from ...errors import SettingError
from ..masked_softmax import masked_softmax
from .base import BaseTemporalNeck

__all__ = ['TemporalAttentionNeck']

_PERIODS = (1.0, 2.0, 4.0, 8.0)  # seconds


@MODELS.register_module()
class TemporalAttentionNeck(BaseTemporalNeck):
    r"""V2XPnP's temporal fusion: multi-head attention over the T frames of each BEV cell.

    .. math:: F' = F_0 + W_o \sum_t \mathrm{softmax}_t(q_0 \cdot k_t / \sqrt{d})\, v_t

    where q is linear, and k and v are perceptrons, in the features plus an embedding of their time;
    a feed-forward layer follows. Only the current frame asks, so that T frames become one map.

    Source: V2XPnP (Zhou et al., ICCV 2025), temporal attention. That only the current frame asks,
    the embedding of real seconds in place of frame numbers, and the sizes are our choice.

    Args:
        channels: C.
        num_heads: heads.
        point_cloud_range: see :class:`BaseTemporalNeck`.
        norm_cfg: normalisation before the feed-forward layer.
    """

    def __init__(
        self,
        channels: int,
        point_cloud_range: list[float],
        num_heads: int = 4,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(point_cloud_range, init_cfg)
        if channels % num_heads:
            raise SettingError(
                f'channels ({channels}) must be a multiple of num_heads ({num_heads})'
            )
        self.num_heads = num_heads
        self.time_embedding = nn.Linear(2 * len(_PERIODS), channels)
        # As large as the features: from the start, heads tell the frames apart.
        nn.init.normal_(self.time_embedding.weight, std=len(_PERIODS) ** -0.5)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, 2 * channels, 1),
        )
        self.out = nn.Conv2d(channels, channels, 1)
        norm_cfg = norm_cfg or dict(type='BN2d', eps=1e-3, momentum=0.01)
        self.feed_forward = nn.Sequential(
            build_norm_layer(norm_cfg, channels)[1],
            nn.Conv2d(channels, 2 * channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * channels, channels, 1),
        )

    def fuse(self, features: Tensor, time_offsets: Tensor, seen: Tensor) -> Tensor:
        """See :meth:`BaseTemporalNeck.fuse`."""
        s, t, c, h, w = features.shape
        phase = 2 * torch.pi * time_offsets[..., None] / time_offsets.new_tensor(_PERIODS)
        time = self.time_embedding(torch.cat([phase.sin(), phase.cos()], dim=-1))
        embedded = features + time[..., None, None]
        query = self.query(embedded[:, -1]).view(s, 1, self.num_heads, -1, h, w)
        key, value = (
            self.key_value(embedded.flatten(0, 1))
            .view(s, t, 2, self.num_heads, -1, h, w)
            .unbind(dim=2)
        )
        logits = (query * key).sum(dim=3) / (c // self.num_heads) ** 0.5
        weights = masked_softmax(logits, seen, dim=1).to(value.dtype)
        attended = (weights[:, :, :, None] * value).sum(dim=1).view(s, c, h, w)
        fused = features[:, -1] + self.out(attended)
        return fused + self.feed_forward(fused)
