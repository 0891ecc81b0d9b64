"""In how many columns, and of what numbers, the rows of a raw point cloud were written.

A ``.bin`` does not say. Cut into rows of a wrong length, every column is the same mixture of x, y,
z and whatever else there is; cut into the right ones, columns differ in sign and size: z and
intensity are small, intensity and ring are never negative. How much the place in the row tells
about a number, their mutual information, is therefore highest for the right length. Neither the
order of the points nor the unit of the intensity matters.
"""

import math
from typing import NamedTuple

import numpy as np

__all__ = ['CloudLayout', 'guess_layout', 'misread_layout']

_COLUMNS = (3, 4, 5, 6)
_EXPECTED = ('<f4', 4)
_BLOCK = 480  # bytes; whole rows of every layout, of float32 and of float64
_BLOCKS = 128  # that are looked at; they are spread over the cloud
_MIN_VALUES = 960
_MIN_INFORMATION = 0.1  # nats; LiDAR clouds have 0.35 to 1.2
_CLEARLY = 0.6
_SIZES = 32  # powers of two that are told apart, from 2^-14 up; times two signs


class CloudLayout(NamedTuple):
    """How a row is written.

    Attributes:
        dtype: ``'<f4'`` or ``'<f8'``.
        columns: numbers in a row.
        confidence: 0 to 1; how little another row length explains that this one does not, as a
            share of what this one explains. LiDAR clouds have more than 0.9.
    """

    dtype: str
    columns: int
    confidence: float

    def __str__(self) -> str:
        return f'rows of {self.columns} {np.dtype(self.dtype).name}'


def guess_layout(content: bytes | memoryview) -> CloudLayout | None:
    """Tell the layout of a cloud from its bytes; takes half a millisecond.

    Returns:
        The layout that fits best, or None if the columns cannot be told apart: too few points, or
        numbers that are alike in all columns.
    """
    usable = memoryview(content)[: len(content) // _BLOCK * _BLOCK]
    if len(usable) < _MIN_VALUES * 4:
        return None
    blocks = np.frombuffer(usable, dtype=np.uint8).reshape(-1, _BLOCK)
    sample = np.ascontiguousarray(blocks[:: -(-len(blocks) // _BLOCKS)]).reshape(-1)
    dtype = max(('<f4', '<f8'), key=lambda name: _plausible(sample.view(name)))
    kinds = _kinds(sample.view(dtype))
    told = {columns: _information(kinds, columns) for columns in range(1, max(_COLUMNS) + 1)}
    # Rows of 6 tell all that rows of 3 do; they have to tell more.
    best = max(_COLUMNS, key=lambda columns: told[columns] - 0.01 * columns)
    if told[best] < _MIN_INFORMATION:
        return None
    # What two lengths tell alike is what their common divisor tells.
    other = max(told[c] - told[math.gcd(c, best)] for c in _COLUMNS if c != best)
    return CloudLayout(dtype, best, min(1.0, max(0.0, 1.0 - other / told[best])))


def misread_layout(content: bytes | memoryview) -> CloudLayout | None:
    """The layout of a cloud that clearly has not float32 rows of x, y, z, intensity, else None.

    Intensities are never negative. In the fourth column of another layout some are: where there is
    none, as in every good cloud, this takes some microseconds.
    """
    numbers = np.frombuffer(content[: len(content) // 16 * 16], dtype='<f4')
    # A power of two meets every column of every layout in turn.
    step = 1 << max(len(numbers) // 4 // 256, 1).bit_length() - 1
    if not (numbers[3 :: 4 * step] < 0).any():
        return None
    layout = guess_layout(content)
    if layout is None or layout.confidence < _CLEARLY or layout[:2] == _EXPECTED:
        return None
    return layout


def _plausible(values: np.ndarray) -> float:
    """The share of values that a LiDAR could write. Halves of a float64 scatter over all sizes."""
    size = np.abs(values)
    return float(((size > 1e-4) & (size < 1e5) | (size == 0) | ~np.isfinite(size)).mean())


def _kinds(values: np.ndarray) -> np.ndarray:
    """Sign and power of two of each value, as a whole number below ``2 * _SIZES``."""
    with np.errstate(over='ignore', invalid='ignore'):
        bits = values.astype('<f4').view('<u4')
    power = (bits >> 23 & 255).astype(np.int64) - 113
    return power.clip(0, _SIZES - 1) + _SIZES * (bits >> 31)


def _information(kinds: np.ndarray, columns: int) -> float:
    """Mutual information of a value's column and its kind, nats, less what chance would give."""
    cells = kinds + 2 * _SIZES * (np.arange(len(kinds)) % columns)
    table = np.bincount(cells, minlength=2 * _SIZES * columns).reshape(columns, -1)
    kind, total = table.sum(axis=0), len(kinds)
    expected = table.sum(axis=1, keepdims=True) * kind / total
    there = table > 0
    found = (table[there] * np.log(table[there] / expected[there])).sum() / total
    return float(found - ((kind > 0).sum() - 1) * (columns - 1) / (2 * total))
