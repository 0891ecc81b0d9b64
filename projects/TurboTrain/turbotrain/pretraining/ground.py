"""How far points lie above the ground, told from the points alone."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..models.warping import cells_at

__all__ = ['ground_grid', 'heights_above_ground']

_CELL = 4.0  # metres: room for an object and ground beside it
_SLOPE_REACH, _HEIGHT_REACH = 3, 1  # cells to each side, of which the medians are taken


def ground_grid(point_cloud_range: Sequence[float]) -> tuple[int, int]:
    """Rows along y and columns along x of a grid for :func:`heights_above_ground`."""
    x_min, y_min, _, x_max, y_max, _ = point_cloud_range
    return max(round((y_max - y_min) / _CELL), 1), max(round((x_max - x_min) / _CELL), 1)


def heights_above_ground(
    points: Tensor, sample: Tensor, limits: Tensor, shape: tuple[int, int, int]
) -> Tensor:
    """Heights of points above the local ground.

    The ground is a plane in each cell of a coarse grid. The plane's slope is the median of those
    between the lowest points of neighbouring cells. Along that slope the lowest points are looked
    for again; the median of a cell and its neighbours is the plane's height. So neither the
    sensor's height nor a slope of the scene matters, and neither cells in which an object hides the
    ground nor stray points below it count for much (our choice).

    Args:
        points: (P, 3+), metres, all within the limits in x and y.
        sample: (P,) int64, whose they are; each sample has a ground of its own.
        limits: (6,) ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.
        shape: number of samples, and rows and columns of their grids.

    Returns:
        (P,) metres; negative below the ground.
    """
    cell, offset = cells_at(points, sample, limits, *shape[1:])
    z = points[:, 2]
    lowest = _lowest(z, cell, shape)
    between = lowest.diff(dim=2), lowest.diff(dim=1)
    along_x, along_y = (
        _median(_window(functional.pad(d, pad, value=torch.nan), _SLOPE_REACH)).nan_to_num(0)
        for d, pad in zip(between, [(0, 1), (0, 0, 0, 1)], strict=True)
    )
    rise = along_x.flatten()[cell] * offset[:, 0] + along_y.flatten()[cell] * offset[:, 1]
    step = torch.arange(-_HEIGHT_REACH, _HEIGHT_REACH + 1, device=z.device)
    plane = along_x[..., None, None] * step + along_y[..., None, None] * step[:, None]
    around = _window(_lowest(z - rise, cell, shape), _HEIGHT_REACH) - plane.flatten(-2)
    return z - rise - _median(around).flatten()[cell]


def _lowest(z: Tensor, cell: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The lowest height (P,) of each cell, in the given shape; NaN where there is none."""
    cells = z.new_full(shape, torch.inf)
    lowest = cells.flatten().scatter_reduce(0, cell, z, 'amin').view(shape)
    return lowest.masked_fill(lowest.isinf(), torch.nan)


def _window(grid: Tensor, reach: int) -> Tensor:
    """(B, H, W) to (B, H, W, n): each cell's surroundings, row by row; NaN beyond the border."""
    padded = functional.pad(grid, [reach] * 4, value=torch.nan)
    width = 2 * reach + 1
    return padded.unfold(1, width, 1).unfold(2, width, 1).flatten(-2)


def _median(values: Tensor) -> Tensor:
    """(..., n) to (...): the lower median of the values that are not NaN.

    Unlike PyTorch's nanmedian, sorting is deterministic on every device.
    """
    number = (~values.isnan()).sum(dim=-1, keepdim=True)
    middle = (number - 1).clamp(min=0) // 2
    return values.sort(dim=-1).values.gather(-1, middle)[..., 0]
