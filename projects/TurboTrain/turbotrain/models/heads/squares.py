"""Squares round objects: what is read of them, and the eight ways of turning and mirroring them."""

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

__all__ = ['WAYS', 'SquareReader', 'middle', 'turned', 'turned_vectors']

_BITS = 3
WAYS = 2**_BITS


class SquareReader(nn.Module):
    """Features (M, C) of squares (M, layers, cells, cells) and of some values about each."""

    def __init__(self, layers: int, cells: int, values: int, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(
                ConvModule(a, b, 3, stride=2, padding=1)
                for a, b in ((layers, 32), (32, 64), (64, 64))
            )
        )
        self.mlp = nn.Sequential(
            nn.Linear(64 * (-(-cells // 8)) ** 2 + values, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
        )
        for layer in self.mlp[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
            nn.init.zeros_(layer.bias)

    def forward(self, squares: Tensor, values: list[Tensor]) -> Tensor:
        """Read M squares, and M rows of each of the values."""
        seen = self.convs(squares).flatten(1)
        return self.mlp(torch.cat([seen, *(value.to(seen) for value in values)], dim=1))


def middle(squares: Tensor, cells: int) -> Tensor:
    """The (..., cells, cells) in the middle of squares (..., S, S)."""
    first = (squares.shape[-1] - cells) // 2
    return squares[..., first : first + cells, first : first + cells]


def turned(squares: Tensor, ways: Tensor) -> Tensor:
    """Squares (M, ..., S, S), each mirrored in x, in y and in x = y as the bits of its way say."""
    bits = ((ways[:, None] >> torch.arange(_BITS, device=ways.device)) & 1).bool()
    bits = bits.view(-1, _BITS, *[1] * (squares.dim() - 1))
    squares = torch.where(bits[:, 0], squares.flip(-1), squares)
    squares = torch.where(bits[:, 1], squares.flip(-2), squares)
    return torch.where(bits[:, 2], squares.transpose(-1, -2), squares)


def turned_vectors(vectors: Tensor, ways: Tensor) -> Tensor:
    """Vectors (M, 2) along x and y in squares that :func:`turned` has turned."""
    bits = ((ways[:, None] >> torch.arange(_BITS, device=ways.device)) & 1).bool()
    mirrored = torch.where(bits[:, :2], -vectors, vectors)
    return torch.where(bits[:, 2:], mirrored.flip(-1), mirrored)
