"""Where2comm: agents send the cells that matter and are asked for."""

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from ...errors import SettingError
from ..layers.map_layers import map_feed_forward
from ..layers.masked_softmax import masked_softmax
from .base import BaseFusionNeck

__all__ = ['Where2commFusion']


@MODELS.register_module()
class Where2commFusion(BaseFusionNeck):
    r"""Where2comm: sparse messages by spatial confidence, fused by confidence-aware attention.

    A confidence C in every cell says how much an agent has to tell there; smoothed, it decides what
    agent j sends to the ego, who asks for what it does not know itself, :math:`R = 1 - C_0`:

    .. math:: M_j = C_j \odot R > \text{threshold, of at most budget} \cdot HW \text{ cells}

    In training the budget is drawn from 0 to 1 for each agent, and there is no threshold. The ego
    has all its own cells. At each cell, for each head,

    .. math:: \sum_j C_j\, \mathrm{softmax}_j(q_0 \cdot k_j / \sqrt d)\, F_j

    over who has sent it, is added to the ego's map, and a feed-forward layer follows.

    Source: Where2comm (Hu et al., NeurIPS 2022). There the confidence is the detection head's, on
    every agent's map; here a convolution on the map learns it, from its part in the attention. One
    exchange at one scale, and the request before it, are our choice too. The request, H * W
    values from the ego, does not count as a message to it.

    Args:
        channels: C.
        point_cloud_range: see :class:`BaseFusionNeck`.
        num_heads: of the attention; has to divide the channels.
        threshold: from 0 to 1, above which a cell is sent in testing.
        budget: the share of the cells, from 0 to 1, that an agent may send in testing.
        request: whether the ego asks; if not, senders go by their own confidence.
        norm_cfg: normalisation of the feed-forward layer.
    """

    def __init__(
        self,
        channels: int,
        point_cloud_range: list[float],
        num_heads: int = 8,
        threshold: float = 0.01,
        budget: float = 1.0,
        request: bool = True,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(point_cloud_range, init_cfg)
        if not (0 <= threshold <= 1 and 0 <= budget <= 1):
            raise SettingError(
                f'threshold and budget must be from 0 to 1, got {threshold} and {budget}'
            )
        self.threshold, self.budget, self.request = threshold, budget, request
        self.confidence = nn.Conv2d(channels, 1, 1)
        nn.init.constant_(self.confidence.bias, -2.2)  # 0.1: rises where it pays (our choice)
        self.attention = _ConfidenceAttention(channels, num_heads)
        self.out = nn.Conv2d(channels, channels, 1)
        self.feed_forward = map_feed_forward(channels, norm_cfg)
        # 5 x 5 cells, sigma 1.
        bell = torch.exp(-0.5 * torch.arange(-2.0, 3.0) ** 2)
        bell = torch.outer(bell, bell)
        self.register_buffer('bell', (bell / bell.sum())[None, None], persistent=False)

    def fuse(self, features: Tensor, kinds: Tensor, seen: Tensor, delays: Tensor) -> Tensor:
        """See :meth:`BaseFusionNeck.fuse`."""
        b, n, _, h, w = features.shape
        confidence = self.confidence(features.flatten(0, 1)).sigmoid().view(b, n, 1, h, w)
        sent = self.select(confidence.detach(), seen)
        self.sent_cells = sent.sum(dim=(2, 3, 4))
        fused = features[:, 0] + self.out(self.attention(features, confidence, sent))
        return fused + self.feed_forward(fused)

    @torch.no_grad()
    def select(self, confidence: Tensor, seen: Tensor) -> Tensor:
        """The cells that agents send.

        Args:
            confidence: (B, N, 1, H, W), the ego's first.
            seen: bool, broadcastable to it.

        Returns:
            (B, N, 1, H, W) bool.
        """
        b, n, _, h, w = confidence.shape
        seen = seen.expand_as(confidence)
        known = (confidence * seen).flatten(0, 1)
        known = functional.conv2d(known, self.bell.to(known), padding=2).view(b, n, h * w)
        score = known * (1 - known[:, :1]) if self.request else known
        score = score.masked_fill(~seen.flatten(2), -1.0)
        rank = _rank(score)
        if self.training:
            chosen = rank < h * w * torch.rand(b, n, 1, device=rank.device)
        else:
            chosen = self._within_budget(score, rank)
        chosen[:, 0] = True
        return chosen.view_as(seen) & seen

    @torch.no_grad()
    def own_cells(self, features: Tensor) -> Tensor:
        """What senders choose who are asked for nothing: (S, C, H, W) to (S, 1, H, W) bool."""
        confidence = self.confidence(features).sigmoid()
        score = functional.conv2d(confidence, self.bell.to(confidence), padding=2).flatten(1)
        return self._within_budget(score, _rank(score)).view_as(confidence)

    def _within_budget(self, score: Tensor, rank: Tensor) -> Tensor:
        return (rank < int(score.shape[-1] * self.budget)) & (score > self.threshold)


def _rank(score: Tensor) -> Tensor:
    """Place of each cell in the falling order of scores (..., H * W)."""
    return score.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)


class _ConfidenceAttention(nn.Module):
    """The ego's attention to what agents have sent."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        if channels % num_heads:
            raise SettingError(
                f'channels ({channels}) must be a multiple of num_heads ({num_heads})'
            )
        self.num_heads = num_heads
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)

    def forward(self, maps: Tensor, confidence: Tensor, sent: Tensor) -> Tensor:
        """(B, N, C, H, W), (B, N, 1, H, W) and (B, N, 1, H, W) bool to (B, C, H, W)."""
        b, n, _, h, w = maps.shape
        query = self.query(maps[:, 0]).view(b, 1, self.num_heads, -1, h, w)
        key = self.key(maps.flatten(0, 1)).view(b, n, self.num_heads, -1, h, w)
        logits = (query * key).sum(dim=3) / key.shape[3] ** 0.5
        weights = masked_softmax(logits, sent, dim=1).to(maps.dtype) * confidence
        heads = maps.view_as(key)
        return (weights[:, :, :, None] * heads).sum(dim=1).flatten(1, 2)
