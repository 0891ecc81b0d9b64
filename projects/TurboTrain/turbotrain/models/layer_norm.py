"""Layer norm of feature maps."""

from torch import Tensor, nn

__all__ = ['MapLayerNorm']


class MapLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each cell of (S, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; the shape stays."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
