"""Attention between agents whose weights know vehicles from roadside units."""

import torch
from torch import Tensor, nn

from ...errors import SettingError
from .map_layers import map_rows
from .masked_softmax import masked_softmax

__all__ = ['HeterogeneousAttention']

_KINDS = 2


class HeterogeneousAttention(nn.Module):
    r"""Multi-head attention over agents at each BEV cell, on a graph with kinds of nodes and edges.

    .. math:: W_o^{m_i} \sum_j \mathrm{softmax}_j
              (q_i \cdot W_{att}^{e_{ij}} k_j / \sqrt{d})\, W_{msg}^{e_{ij}} v_j

    with q, k, v and :math:`W_o` of their own for each kind of agent m, and relation matrices for
    each kind of edge e (receiver's kind, sender's kind).

    Source: V2X-ViT's HMSA (Xu et al., ECCV 2022), which V2XPnP takes up.

    Args:
        channels: C.
        num_heads: of the attention; has to divide the channels.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        if channels % num_heads:
            raise SettingError(
                f'channels ({channels}) must be a multiple of num_heads ({num_heads})'
            )
        self.num_heads = num_heads
        # Rows: query, key, value, out.
        self.weight = nn.Parameter(torch.empty(4, _KINDS, channels, channels))
        for matrix in self.weight.data.flatten(0, 1):
            nn.init.xavier_uniform_(matrix)
        # Rows: attention, message. They start as the identity: all edges alike.
        self.relation = nn.Parameter(
            torch.eye(channels // num_heads).repeat(2, _KINDS * _KINDS, num_heads, 1, 1)
        )

    def forward(self, features: Tensor, kinds: Tensor, seen: Tensor, receivers: int) -> Tensor:
        """Attend.

        Args:
            features: (B, N, C, H, W), aligned.
            kinds: (B, N) int64.
            seen: bool, broadcastable to (B, N, 1, H, W).
            receivers: R, the first agents, of whom each gets an answer; 1 is the ego alone.

        Returns:
            (B, R, C, H, W).
        """
        b, _, c, h, w = features.shape
        rows = map_rows(features)
        seen = seen.flatten(3).mT  # (B, N, H * W or 1, 1)
        own = kinds[:, :receivers]
        # A head a column: (B, R, H * W, heads, C / heads).
        query = (rows[:, :receivers] @ self.weight[0, own].mT).unflatten(3, (self.num_heads, -1))
        # Messages depend on the receiver's kind only: one set of them serves all of that kind.
        groups = (
            own[:, :1].T if receivers == 1 else torch.arange(_KINDS, device=own.device)[:, None]
        )
        answer = 0
        for kind in groups:
            key, value = self._messages(rows, kinds, kind.expand(b))
            logits = (query[:, :, None] * key[:, None]).sum(dim=5) / query.shape[4] ** 0.5
            weights = masked_softmax(logits, seen[:, None], dim=2).to(value.dtype)
            heard = (weights[..., None] * value[:, None]).sum(dim=2)
            answer = answer + heard * (own == kind[:, None])[:, :, None, None, None]
        told = answer.flatten(3) @ self.weight[3, own].mT
        return told.view(b, receivers, h, w, c).permute(0, 1, 4, 2, 3)

    def _messages(self, rows: Tensor, kinds: Tensor, receiver: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, N, H*W, heads, d) for receivers of one kind (B,) in each sample."""
        edge = receiver[:, None] * _KINDS + kinds
        # The relation matrices act on small weights, not on maps: (B, N, 2 C, C) together.
        split = self.weight[1:3][:, kinds].unflatten(3, (self.num_heads, -1))
        matrices = (self.relation[:, edge] @ split).flatten(3, 4)
        messages = rows @ torch.cat([*matrices], dim=2).mT
        return messages.unflatten(3, (2, self.num_heads, -1)).unbind(dim=3)
