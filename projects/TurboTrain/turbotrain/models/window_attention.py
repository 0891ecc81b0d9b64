"""Self-attention within windows of a map, at several scales."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ['MultiScaleWindowAttention', 'WindowAttention']


class WindowAttention(nn.Module):
    """Multi-head self-attention of the cells within each window, with relative positions.

    Maps whose sides are no multiple of the window are filled up; what fills is not attended to.

    Source: Swin Transformer (Liu et al., ICCV 2021), without shifts.

    Args:
        channels: C.
        window: cells along a window's side.
        num_heads: heads.
        head_channels: channels of a head.
    """

    def __init__(self, channels: int, window: int, num_heads: int, head_channels: int) -> None:
        super().__init__()
        self.window, self.num_heads = window, num_heads
        inner = num_heads * head_channels
        self.query_key_value = nn.Conv2d(channels, 3 * inner, 1, bias=False)
        self.out = nn.Conv2d(inner, channels, 1)
        self.position = nn.Parameter(torch.zeros(num_heads, (2 * window - 1) ** 2))
        nn.init.trunc_normal_(self.position, std=0.02)
        cell = torch.stack(torch.meshgrid([torch.arange(window)] * 2, indexing='ij')).flatten(1)
        offset = cell[:, :, None] - cell[:, None] + window - 1
        index = offset[0] * (2 * window - 1) + offset[1]
        self.register_buffer('relative', index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(S, C, H, W) to the same shape."""
        s, _, height, width = x.shape
        size = self.window
        rows, columns = -(-height // size), -(-width // size)
        missing = (0, columns * size - width, 0, rows * size - height)

        def windows(maps: Tensor) -> Tensor:
            """(S, heads * d, H, W) to (S * windows, heads, cells, d)."""
            grid = functional.pad(maps, missing)
            grid = grid.view(s, self.num_heads, -1, rows, size, columns, size)
            return grid.permute(0, 3, 5, 1, 4, 6, 2).flatten(4, 5).flatten(0, 2)

        query, key, value = (windows(m) for m in self.query_key_value(x).chunk(3, dim=1))
        bias = self.position[:, self.relative].to(query.dtype)[None]
        if any(missing):
            there = functional.pad(x.new_ones(1, 1, height, width), missing)
            there = there.view(rows, size, columns, size).transpose(1, 2).reshape(-1, 1, 1, size**2)
            bias = (bias + (there - 1) * 1e4).repeat(s, 1, 1, 1)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.view(s, rows, columns, self.num_heads, size, size, -1)
        mixed = mixed.permute(0, 3, 6, 1, 4, 2, 5).reshape(s, -1, rows * size, columns * size)
        return self.out(mixed[:, :, :height, :width])


class MultiScaleWindowAttention(nn.Module):
    r"""V2X-ViT's MSwin: window attention at several scales, merged by split attention.

    The scales' maps :math:`y_s` are added with a weight for each channel, which depends on the mean
    of their sum over the map:

    .. math:: \sum_s \mathrm{softmax}_s(W_s\, \mathrm{ReLU}(\mathrm{LN}(W\,\bar y)))\, y_s

    Source: V2X-ViT (Xu et al., ECCV 2022); V2XPnP's self-spatial attention is described alike.

    Args:
        channels: C.
        windows: cells along the sides of the windows.
        num_heads: heads at each scale.
        head_channels: channels of a head at each scale.
    """

    def __init__(
        self,
        channels: int,
        windows: Sequence[int] = (4, 8, 16),
        num_heads: Sequence[int] = (16, 8, 4),
        head_channels: Sequence[int] = (16, 32, 64),
    ) -> None:
        super().__init__()
        if not len(windows) == len(num_heads) == len(head_channels):
            raise ValueError(
                f'windows {windows}, num_heads {num_heads} and head_channels {head_channels} must '
                'be of the same length'
            )
        scales = zip(windows, num_heads, head_channels, strict=True)
        self.scales = nn.ModuleList(WindowAttention(channels, *scale) for scale in scales)
        self.squeeze = nn.Sequential(
            nn.Linear(channels, channels, bias=False), nn.LayerNorm(channels), nn.ReLU(inplace=True)
        )
        self.excite = nn.Linear(channels, len(windows) * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(S, C, H, W) to the same shape."""
        maps = torch.stack([scale(x) for scale in self.scales], dim=1)
        mean = maps.sum(dim=1).mean(dim=(2, 3))
        weights = self.excite(self.squeeze(mean)).unflatten(1, (len(self.scales), -1)).softmax(1)
        return (maps * weights[..., None, None]).sum(dim=1)
