"""A recurrent cell on feature maps."""

import torch
from torch import Tensor, nn

__all__ = ['ConvGRUCell']


class ConvGRUCell(nn.Module):
    r"""Gated recurrent unit whose matrices are convolutions (Ballas et al., ICLR 2016).

    .. math:: z, r = \sigma(W * [x, h]); \quad n = \tanh(W_n * [x, r h]); \quad
              h' = (1 - z) h + z n

    Args:
        in_channels: of the input x.
        channels: of the state h.
        kernel_size: of the convolutions.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.gates = nn.Conv2d(in_channels + channels, 2 * channels, kernel_size, padding=padding)
        self.candidate = nn.Conv2d(in_channels + channels, channels, kernel_size, padding=padding)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """One step: (S, in_channels, H, W) and (S, channels, H, W) to (S, channels, H, W)."""
        update, reset = self.gates(torch.cat([x, state], dim=1)).sigmoid().chunk(2, dim=1)
        new = self.candidate(torch.cat([x, reset * state], dim=1)).tanh()
        return (1 - update) * state + update * new
