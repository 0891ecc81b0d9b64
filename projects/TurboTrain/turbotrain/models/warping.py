"""Moving bird's-eye-view feature maps from one frame to another."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ['cell_centres', 'warp_bev', 'warp_by_flow']


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
    inverse = torch.linalg.inv(transform[:, :2, :2])
    shift = -(inverse @ transform[:, :2, 3:])[..., 0]
    # grid_sample counts in halves of the map from its centre: x = centre + half * normalised.
    matrix = inverse * half[None, None, :] / half[None, :, None]
    offset = (inverse @ centre + shift - centre) / half
    theta = torch.cat([matrix, offset[..., None]], dim=2)
    return _resample(features, theta, 0.0)


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
    still = torch.eye(2, 3, device=features.device).expand(len(features), 2, 3)
    precise = torch.promote_types(features.dtype, torch.float32)
    half = still.new_tensor([(x_max - x_min) / 2, (y_max - y_min) / 2], dtype=precise)
    return _resample(features, still, displacement.permute(0, 2, 3, 1).to(precise) / half)


def _resample(
    features: Tensor, theta: Tensor, displacement: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Read maps at the places that matrices (S, 2, 3) and displacements (S, H, W, 2) say.

    Not in half precision, also where autocast asks for it: places would be off by a good part of a
    cell.
    """
    precise = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        grid = functional.affine_grid(theta.to(precise), list(features.shape), align_corners=False)
        grid = grid - displacement
        warped = functional.grid_sample(features.to(precise), grid, align_corners=False)
    seen = (grid.abs() <= 1).all(dim=-1)[:, None]
    return warped.to(features.dtype) * seen, seen
