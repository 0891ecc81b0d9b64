"""Layers on the channels of each cell of (S, C, H, W).

They work in the channels-last memory format, and what they give is in it: a chain of them copies
nothing.
"""

from torch import Tensor, nn

__all__ = ['MapLayerNorm', 'MapLinear']


class MapLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each cell."""

    def forward(self, x: Tensor) -> Tensor:
        """(S, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MapLinear(nn.Linear):
    """A linear layer at each cell; a 1x1 convolution as one matrix product on any device."""

    def forward(self, x: Tensor) -> Tensor:
        """(S, C, H, W) to (S, C', H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
