"""From paths to point clouds and map polylines."""

import warnings
from functools import lru_cache

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmengine.fileio import exists

from ...structures import invert_rigid, polylines_of, transform_points
from ..readers import read_point_cloud, read_vector_map

__all__ = ['LoadCooperativePoints', 'LoadVectorMap']


@TRANSFORMS.register_module()
class LoadCooperativePoints(BaseTransform):
    """Load the clouds of all agents and frames.

    Adds ``points``: N*T float32 arrays (P, 4), agent-major (all frames of the ego first), each in
    its own agent's frame; an invalid cloud is an array of no points.

    Args:
        zero_intensity: set intensity to 0, as V2X-Real's loader does.
        body_mask: ``[x_min, y_min, x_max, y_max]`` (m): points there, in each agent's own frame,
            are the agent's own body and dropped, as V2X-Real does. None keeps them.
        backend_args: mmengine fileio's; local disk by default.
    """

    def __init__(
        self,
        zero_intensity: bool = True,
        body_mask: tuple[float, float, float, float] | None = (-1.95, -1.1, 2.95, 1.1),
        backend_args: dict | None = None,
    ) -> None:
        self.zero_intensity = zero_intensity
        self.body_mask = body_mask
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Load."""
        results['points'] = [self._load(path) for path in results['cloud_paths']]
        return results

    def _load(self, path: str) -> np.ndarray:
        if not path:
            return np.zeros((0, 4), dtype=np.float32)
        points = read_point_cloud(path, self.backend_args)
        if self.body_mask is not None:
            x_min, y_min, x_max, y_max = self.body_mask
            x, y = points[:, 0], points[:, 1]
            points = points[~((x >= x_min) & (x <= x_max) & (y >= y_min) & (y <= y_max))]
        if self.zero_intensity:
            points[:, 3] = 0.0
        return points


@TRANSFORMS.register_module()
class LoadVectorMap(BaseTransform):
    """Load the lanes round the ego.

    Adds ``vector_map``: polylines (L, 10, 7) ``[x, y, z, dx, dy, dz, type]`` in the ego's frame and
    ``vector_map_mask`` (L, 10). Without a map file both are empty.

    Args:
        radius: polylines whose mean is further away than this (m) are left out.
    """

    def __init__(self, radius: float = 80.0) -> None:
        self.radius = radius

    def transform(self, results: dict) -> dict:
        """Load."""
        polylines, mask = _polylines(results['map_path'])
        middle = (polylines[..., :2] * mask[..., None]).sum(1) / mask.sum(1).clip(1)[:, None]
        near = np.hypot(*(middle - results['world_from_ego'][:2, 3]).T) <= self.radius
        polylines, mask = polylines[near], mask[near]
        ego_from_world = invert_rigid(results['world_from_ego'])
        moved = transform_points(ego_from_world, polylines)
        moved[..., 3:6] = polylines[..., 3:6] @ ego_from_world[:3, :3].T
        results['vector_map'] = moved * mask[..., None]
        results['vector_map_mask'] = mask
        return results


@lru_cache(maxsize=4)
def _polylines(path: str) -> tuple[np.ndarray, np.ndarray]:
    """A map file's polylines in the world frame; read once per process."""
    if not exists(path):
        warnings.warn(f'{path}: there is no such map; samples go without lanes', stacklevel=2)
        return np.zeros((0, 10, 7), dtype=np.float32), np.zeros((0, 10), dtype=bool)
    return polylines_of(read_vector_map(path))
