"""Attention over time at each BEV cell, as in V2XPnP."""

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from ...errors import SettingError
from ..layers.map_layers import MapConv, map_feed_forward, map_rows
from ..layers.masked_softmax import masked_softmax
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
        num_heads: of the attention; has to divide the channels.
        point_cloud_range: see :class:`BaseTemporalNeck`.
        norm_cfg: normalisation at the feed-forward layer.
        post_norm: whether the sum of that layer's input and output is normalised, instead of its
            input (our choice: the input).
        residual: whether :math:`F_0` is added (our choice: it is). Without, the current frame comes
            through the attention alone.
        timed: whether the time of frames is embedded. Without, attention takes the frames for a
            set; only the query tells the current one.
    """

    def __init__(
        self,
        channels: int,
        point_cloud_range: list[float],
        num_heads: int = 4,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
        *,
        post_norm: bool = False,
        residual: bool = True,
        timed: bool = True,
    ) -> None:
        super().__init__(point_cloud_range, init_cfg)
        if channels % num_heads:
            raise SettingError(
                f'channels ({channels}) must be a multiple of num_heads ({num_heads})'
            )
        self.num_heads, self.post_norm, self.residual = num_heads, post_norm, residual
        self.time_embedding = None
        if timed:
            self.time_embedding = nn.Linear(2 * len(_PERIODS), channels)
            # As large as the features: from the start, heads tell the frames apart.
            nn.init.normal_(self.time_embedding.weight, std=len(_PERIODS) ** -0.5)
        self.query = MapConv(channels, channels)
        self.key_value = nn.Sequential(
            MapConv(channels, channels), nn.ReLU(inplace=True), MapConv(channels, 2 * channels)
        )
        self.out = MapConv(channels, channels)
        self.feed_forward = map_feed_forward(channels, norm_cfg)

    def fuse(self, features: Tensor, time_offsets: Tensor, seen: Tensor) -> Tensor:
        """See :meth:`BaseTemporalNeck.fuse`."""
        s, t, c, h, w = features.shape
        rows = map_rows(features)
        time = self._embed(time_offsets)
        current = rows[:, -1]
        query = _dated(self.query, current, time[:, -1])
        first, relu, second = self.key_value
        hidden = relu(_dated(first, rows.flatten(0, 1), time.flatten(0, 1)))
        # One frame asks T: its query goes through the keys' matrix, and the weighted mean of what
        # was hidden through the values', so that no key and no value is ever made. The keys' bias
        # adds the same to all frames of a cell, which softmax does not see.
        key, value = second.weight.view(2, self.num_heads, -1, c)  # (heads, C / heads, C)
        query = query.reshape(s * h * w, self.num_heads, -1).transpose(0, 1) @ key
        hidden = hidden.view(s, t, h * w, c).transpose(1, 2).reshape(s * h * w, t, c)
        logits = query.transpose(0, 1) @ hidden.mT / (c // self.num_heads) ** 0.5
        seen = seen.expand(s, t, 1, h, w).permute(0, 3, 4, 2, 1).reshape(s * h * w, 1, t)
        weights = masked_softmax(logits, seen, dim=2).to(hidden.dtype)
        attended = (weights @ hidden).transpose(0, 1) @ value.mT
        bias = second.bias[c:].view(self.num_heads, 1, -1)
        attended = attended + bias * weights.sum(dim=2).T[..., None]
        attended = attended.transpose(0, 1).reshape(s, h * w, c)
        fused = self.out.rows(attended)
        if self.residual:
            fused = current + fused
        fused = fused.view(s, h, w, c).permute(0, 3, 1, 2)
        if self.post_norm:
            return self.feed_forward[0](fused + self.feed_forward[1:](fused))
        return fused + self.feed_forward(fused)

    def _embed(self, time_offsets: Tensor) -> Tensor:
        """(S, T) seconds to (S, T, C)."""
        if self.time_embedding is None:
            return time_offsets.new_zeros(*time_offsets.shape, self.query.in_channels)
        phase = 2 * torch.pi * time_offsets[..., None] / time_offsets.new_tensor(_PERIODS)
        return self.time_embedding(torch.cat([phase.sin(), phase.cos()], dim=-1))


def _dated(layer: MapConv, rows: Tensor, time: Tensor) -> Tensor:
    """A layer on rows (K, H * W, C) plus times (K, C), which are added to its bias instead."""
    bias = layer.rows(time)[:, None]
    weight = layer.weight.flatten(1).T.expand(len(rows), -1, -1)
    return torch.baddbmm(bias, rows, weight)
