"""Self-attention within windows of a map, at several scales."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import SettingError
from .map_layers import MapLinear

__all__ = ['MultiScaleWindowAttention', 'WindowAttention']


class WindowAttention(nn.Module):
    """Multi-head self-attention of the cells within each window, with relative positions.

    Maps whose sides are no multiple of the window are filled up; what fills is not attended to.

    Source: Swin Transformer (Liu et al., ICCV 2021), without shifts.

    Args:
        channels: C.
        window: cells along a window's side.
        head_channels: channels of a head; there are as many heads as make C.
    """

    def __init__(self, channels: int, window: int, head_channels: int) -> None:
        super().__init__()
        if channels % head_channels:
            raise SettingError(f'head_channels ({head_channels}) must divide channels ({channels})')
        self.window, self.num_heads = window, channels // head_channels
        self.query_key_value = MapLinear(channels, 3 * channels, bias=False)
        self.out = MapLinear(channels, channels)
        self.position = nn.Parameter(torch.zeros(self.num_heads, (2 * window - 1) ** 2))
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
        grid = self.query_key_value(functional.pad(x, missing)).permute(0, 2, 3, 1)
        grid = grid.view(s, rows, size, columns, size, 3, self.num_heads, -1)
        # (query key value, S * windows, heads, cells, d)
        query, key, value = grid.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(5, 6).flatten(1, 3)
        bias = self.position[:, self.relative].to(query.dtype)[None]
        if any(missing):
            there = functional.pad(x.new_ones(1, 1, height, width), missing)
            there = there.view(rows, size, columns, size).transpose(1, 2).reshape(-1, 1, 1, size**2)
            bias = (bias + (there - 1) * 1e4).repeat(s, 1, 1, 1)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.view(s, rows, columns, self.num_heads, size, size, -1)
        mixed = mixed.permute(0, 1, 4, 2, 5, 3, 6).reshape(s, rows * size, columns * size, -1)
        return self.out(mixed[:, :height, :width].permute(0, 3, 1, 2))


class MultiScaleWindowAttention(nn.Module):
    r"""V2X-ViT's MSwin: window attention at several scales, merged by split attention.

    The scales' maps :math:`y_s` are added with a weight for each channel, which depends on the mean
    of their sum over the map:

    .. math:: \sum_s \mathrm{softmax}_s(W_s\, \mathrm{ReLU}(\mathrm{LN}(W\,\bar y)))\, y_s

    Source: V2X-ViT (Xu et al., ECCV 2022); V2XPnP's self-spatial attention is described alike.

    Args:
        channels: C.
        windows: cells along the sides of the windows.
        head_channels: channels of a head at each scale, of which there are as many as make C.
    """

    def __init__(
        self,
        channels: int,
        windows: Sequence[int] = (4, 8, 16),
        head_channels: Sequence[int] = (16, 32, 64),
    ) -> None:
        super().__init__()
        if len(windows) != len(head_channels):
            raise SettingError(
                f'windows {windows} and head_channels {head_channels} must be of the same length'
            )
        scales = zip(windows, head_channels, strict=True)
        self.scales = nn.ModuleList(WindowAttention(channels, *scale) for scale in scales)
        self.squeeze = nn.Sequential(
            nn.Linear(channels, channels, bias=False), nn.LayerNorm(channels), nn.ReLU(inplace=True)
        )
        self.excite = nn.Linear(channels, len(windows) * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(S, C, H, W) to the same shape."""
        maps = [scale(x) for scale in self.scales]
        mean = torch.stack([m.mean(dim=(2, 3)) for m in maps]).sum(dim=0)
        weights = self.excite(self.squeeze(mean)).unflatten(1, (len(maps), -1)).softmax(1)
        return sum(m * w[..., None, None] for m, w in zip(maps, weights.unbind(1), strict=True))
