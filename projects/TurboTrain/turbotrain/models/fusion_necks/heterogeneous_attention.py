"""Attention over agents whose weights know vehicles from roadside units."""

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from .base import BaseFusionNeck

__all__ = ['HeterogeneousAttentionFusion']

_KINDS = 2


@MODELS.register_module()
class HeterogeneousAttentionFusion(BaseFusionNeck):
    r"""Multi-agent spatial attention of V2XPnP and V2X-ViT at each BEV cell, for the ego.

    .. math:: F = F_0 + W_o^{m_0} \sum_j \mathrm{softmax}_j
              (q_0 \cdot W_{att}^{e_{0j}} k_j / \sqrt{d})\, W_{msg}^{e_{0j}} v_j

    with q, k, v and :math:`W_o` of their own for each kind of agent m, and relation matrices
    :math:`W_{att}, W_{msg}` for each kind of edge e (ego's kind, sender's kind). A feed-forward
    layer and ``num_convs`` residual convolutions, which look beyond the cell, follow; the latter
    stand where V2XPnP has windowed self-attention (our choice).

    Sources: V2XPnP (Zhou et al., ICCV 2025); :math:`W_{msg}` as in V2X-ViT's HMSA (Xu et al.,
    ECCV 2022), where V2XPnP names :math:`W_{att}` only.

    Args:
        channels: C.
        point_cloud_range: see :class:`BaseFusionNeck`.
        num_heads: heads.
        num_convs: 3x3 convolutions after the attention.
        norm_cfg: normalisation.
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
        if channels % num_heads:
            raise ValueError(f'channels ({channels}) must be a multiple of num_heads ({num_heads})')
        self.num_heads = num_heads
        head_dim = channels // num_heads
        # Rows: query, key, value, out.
        self.weight = nn.Parameter(torch.empty(4, _KINDS, channels, channels))
        for matrix in self.weight.data.flatten(0, 1):
            nn.init.xavier_uniform_(matrix)
        # Rows: attention, message. They start as the identity: all edges alike.
        self.relation = nn.Parameter(
            torch.eye(head_dim).repeat(2, _KINDS * _KINDS, num_heads, 1, 1)
        )
        norm_cfg = norm_cfg or dict(type='BN2d', eps=1e-3, momentum=0.01)
        self.feed_forward = nn.Sequential(
            build_norm_layer(norm_cfg, channels)[1],
            nn.Conv2d(channels, 2 * channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * channels, channels, 1),
        )
        self.convs = nn.ModuleList(
            ConvModule(channels, channels, 3, padding=1, bias=False, norm_cfg=norm_cfg)
            for _ in range(num_convs)
        )

    def fuse(self, features: Tensor, kinds: Tensor, seen: Tensor) -> Tensor:
        """See :meth:`BaseFusionNeck.fuse`."""
        b, n, c, h, w = features.shape
        heads, dim = self.num_heads, c // self.num_heads
        ego_kind = kinds[:, 0]
        edge = ego_kind[:, None] * _KINDS + kinds
        ego = features[:, 0].flatten(2)
        maps = features.flatten(3)

        # The relation matrices act on small weights, not on maps: (B, N, C, C) each.
        key_value = (
            self.relation[:, edge] @ self.weight[1:3][:, kinds].unflatten(3, (heads, dim))
        ).flatten(3, 4)
        query = (self.weight[0, ego_kind] @ ego).view(b, 1, heads, dim, -1)
        key, value = ((m @ maps).view(b, n, heads, dim, -1) for m in key_value)
        logits = (query * key).sum(dim=3) / dim**0.5
        seen = seen.expand(-1, -1, 1, h, w).flatten(3)
        logits = logits.masked_fill(~seen, -1e4)
        # A cell that nobody has seen gets nothing, instead of a mean over nothing.
        weights = logits.softmax(dim=1).to(value.dtype) * seen
        attended = (weights[:, :, :, None] * value).sum(dim=1).view(b, c, -1)
        fused = (ego + self.weight[3, ego_kind] @ attended).view(b, c, h, w)
        fused = fused + self.feed_forward(fused)
        for conv in self.convs:
            fused = fused + conv(fused)
        return fused
