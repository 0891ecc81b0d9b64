"""Attention over time at each BEV cell, as in V2XPnP."""

from mmcv.cnn import build_norm_layer
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from .base import BaseTemporalNeck

__all__ = ['TemporalAttentionNeck']


@MODELS.register_module()
class TemporalAttentionNeck(BaseTemporalNeck):
    r"""V2XPnP's temporal fusion: multi-head attention over the T frames of each BEV cell.

    .. math:: F' = F_0 + W_o \sum_t \mathrm{softmax}_t(q_0 \cdot k_t / \sqrt{d})\, v_t

    with q, k, v linear in the features plus a learned embedding of their time, followed by a
    feed-forward layer. Only the current frame asks, so that T frames become one map.

    Source: V2XPnP (Zhou et al., ICCV 2025), section on temporal attention; the embedding of real
    seconds in place of frame numbers, and the sizes, are our choice.

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
            raise ValueError(f'channels ({channels}) must be a multiple of num_heads ({num_heads})')
        self.num_heads = num_heads
        self.time_embedding = nn.Sequential(
            nn.Linear(1, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels)
        )
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)
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
        embedded = features + self.time_embedding(time_offsets[..., None])[..., None, None]
        query = self.query(embedded[:, -1]).view(s, 1, self.num_heads, -1, h, w)
        key, value = (
            self.key_value(embedded.flatten(0, 1))
            .view(s, t, 2, self.num_heads, -1, h, w)
            .unbind(dim=2)
        )
        logits = (query * key).sum(dim=3) / (c // self.num_heads) ** 0.5
        # A finite floor: a cell that no frame has seen gets a mean that is then zeroed, not NaN.
        logits = logits.masked_fill(~seen.squeeze(2)[:, :, None], -1e4)
        weights = logits.softmax(dim=1).to(value.dtype) * seen.squeeze(2)[:, :, None]
        attended = (weights[:, :, :, None] * value).sum(dim=1).view(s, c, h, w)
        fused = features[:, -1] + self.out(attended)
        return fused + self.feed_forward(fused)
