"""Moving bird's-eye-view feature maps from one frame to another."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ['cell_centres', 'cells_at', 'read_maps', 'warp_bev', 'warp_by_flow']


def cell_centres(limits: Tensor, height: int, width: int) -> Tensor:
    """Where the cells of a map lie.

    Args:
        limits: (6,) ``[x_min, y_min, z_min, x_max, y_max, z_max]`` of the map, metres.
        height: H, along y.
        width: W, along x.

    Returns:
        (H * W, 2) x and y of the centres, metres, row by row.
    """
    rows = torch.arange(height, device=limits.device)
    columns = torch.arange(width, device=limits.device)
    place = torch.stack(torch.meshgrid(columns, rows, indexing='xy'), dim=-1).flatten(0, 1)
    size = (limits[3:5] - limits[:2]) / limits.new_tensor([width, height])
    return limits[:2] + (place + 0.5) * size


def cells_at(
    points: Tensor, sample: Tensor, limits: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """In which cells of a batch of maps points lie.

    Args:
        points: (P, 2+) x, y, ..., metres, within the limits.
        sample: (P,) int64, on which map of the batch.
        limits: (6,) ``[x_min, y_min, z_min, x_max, y_max, z_max]`` of the maps, metres.
        height: H, along y.
        width: W, along x.

    Returns:
        cell: (P,) int64, ``(sample * H + row) * W + column``.
        offset: (P, 2) x and y from the cell's centre, in cells.
    """
    span = limits[3:5] - limits[:2]
    place = (points[:, :2] - limits[:2]) / torch.stack([span[0] / width, span[1] / height])
    # A point a rounding error below the upper border belongs to the last cell.
    column = place[:, 0].long().clamp(max=width - 1)
    row = place[:, 1].long().clamp(max=height - 1)
    return (sample * height + row) * width + column, place - torch.stack([column, row], 1) - 0.5


def warp_bev(
    features: Tensor, target_from_source: Tensor, point_cloud_range: list[float]
) -> tuple[Tensor, Tensor]:
    """Resample feature maps into another frame; heights, roll and pitch are ignored.

    Cell (row i, column j) has its centre at ``x_min + (j + 0.5) * cell`` and
    ``y_min + (i + 0.5) * cell`` in both frames.

    Args:
        features: (S, C, H, W); H runs along y, W along x.
        target_from_source: (S, 4, 4), metres.
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres, of both frames.

    Returns:
        warped: (S, C, H, W), bilinear, 0 where the source map does not reach.
        seen: (S, 1, H, W) bool, whether the source map reaches there.
    """
    x_min, y_min, _, x_max, y_max, _ = point_cloud_range
    transform = target_from_source.to(torch.float64)
    half = transform.new_tensor([(x_max - x_min) / 2, (y_max - y_min) / 2])
    centre = transform.new_tensor([(x_max + x_min) / 2, (y_max + y_min) / 2])
    inverse = torch.linalg.inv_ex(transform[:, :2, :2])[0]  # inv would wait, to tell of errors
    shift = -(inverse @ transform[:, :2, 3:])[..., 0]
    # grid_sample counts in halves of the map from its centre: x = centre + half * normalised.
    matrix = inverse * half[None, None, :] / half[None, :, None]
    offset = (inverse @ centre + shift - centre) / half
    grid = _grid(torch.cat([matrix, offset[..., None]], dim=2), features)
    return _resample(features, grid)


def warp_by_flow(
    features: Tensor, displacement: Tensor, point_cloud_range: list[float]
) -> tuple[Tensor, Tensor]:
    """Move what feature maps show, each cell by its own way: out(x) = in(x - displacement(x)).

    Args:
        features: (S, C, H, W); H runs along y, W along x.
        displacement: (S, 2, H, W), metres along x and y, of what a cell shows afterwards.
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.

    Returns:
        warped: (S, C, H, W), bilinear, 0 where it would come from outside the map.
        seen: (S, 1, H, W) bool, whether it comes from inside.
    """
    x_min, y_min, _, x_max, y_max, _ = point_cloud_range
    grid = _grid(torch.eye(2, 3, device=features.device).expand(len(features), 2, 3), features)
    half = grid.new_tensor([(x_max - x_min) / 2, (y_max - y_min) / 2])
    return _resample(features, grid - displacement.permute(0, 2, 3, 1).to(grid.dtype) / half)


def read_maps(maps: Tensor, places: Tensor) -> Tensor:
    """Bilinear values of maps at some places, 0 beyond their borders.

    Places do not go through half precision, also where autocast asks for it: they would be off by a
    good part of a cell.

    Args:
        maps: (S, C, H, W).
        places: (S, A, B, 2) x and y in halves of the map from its centre.

    Returns:
        (S, C, A, B), of the maps' type.
    """
    precise = _precise(maps)
    with torch.autocast(maps.device.type, enabled=False):
        found = functional.grid_sample(maps.to(precise), places.to(precise), align_corners=False)
    return found.to(maps.dtype)


def _precise(maps: Tensor) -> torch.dtype:
    return torch.promote_types(maps.dtype, torch.float32)


def _grid(theta: Tensor, features: Tensor) -> Tensor:
    """(S, H, W, 2), where matrices (S, 2, 3) put the cells of maps (S, C, H, W)."""
    with torch.autocast(features.device.type, enabled=False):
        return functional.affine_grid(
            theta.to(_precise(features)), list(features.shape), align_corners=False
        )


def _resample(features: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    seen = (grid.abs() <= 1).all(dim=-1)[:, None]
    # Where a pose is unknown, be it NaN, nothing is seen.
    return read_maps(features, grid).where(seen, 0), seen
