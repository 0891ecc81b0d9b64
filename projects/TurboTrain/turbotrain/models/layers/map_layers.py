"""Layers on the channels of each cell of (S, C, H, W).

They work in the channels-last memory format, and what they give is in it: a chain of them copies
nothing.
"""

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn import functional

__all__ = ['MAP_NORM', 'MapConv', 'MapLayerNorm', 'MapLinear', 'map_feed_forward', 'map_rows']


# The norm of maps unless a config says otherwise: that of mmdet3d's SECOND.
MAP_NORM = dict(type='BN2d', eps=1e-3, momentum=0.01)


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


class MapConv(nn.Conv2d):
    """A 1x1 convolution, by its weights, that is computed as :class:`MapLinear`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(S, C, H, W) to (S, C', H, W)."""
        return self.rows(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def rows(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C')."""
        return functional.linear(x, self.weight.flatten(1), self.bias)


def map_feed_forward(channels: int, norm_cfg: dict | None) -> nn.Sequential:
    """Normalisation and a perceptron twice as wide at each cell.

    Args:
        channels: C.
        norm_cfg: mmcv's; None is :data:`MAP_NORM`.
    """
    return nn.Sequential(
        build_norm_layer(norm_cfg or MAP_NORM, channels)[1],
        MapConv(channels, 2 * channels),
        nn.ReLU(),  # in place, on a view, its gradient would be copied
        MapConv(2 * channels, channels),
    )


def map_rows(maps: Tensor) -> Tensor:
    """(..., C, H, W) to (..., H * W, C), without a copy of what is in the channels-last format."""
    return maps.movedim(-3, -1).flatten(-3, -2).contiguous()
