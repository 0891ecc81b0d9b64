"""Transforms of a whole sample: its clouds, agents, objects and paths together."""

from dataclasses import replace

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...errors import SettingError
from ...structures import corners_inside, move_polylines, transform_points
from ..point_kernels import keep_inside, move

__all__ = [
    'CooperativeGlobalAugmentation',
    'CooperativeRangeFilter',
    'EgoOnly',
    'MergeAgentPoints',
    'ProjectPointsToEgo',
]


@TRANSFORMS.register_module()
class ProjectPointsToEgo(BaseTransform):
    """Move every cloud into the ego's current frame, as V2X-Real does (``proj_first``).

    Agents then encode their clouds in the frame they will be fused in, and no feature map has to
    be warped; it asks of the agents that they know the ego's pose before they encode.
    """

    def transform(self, results: dict) -> dict:
        """Project."""
        agents = results['agents']
        if not agents.points_in_ego:
            transforms = agents.ego_from_agent.reshape(-1, 4, 4).astype(np.float32)
            for matrix, points in zip(transforms, results['points'], strict=True):
                move(points, matrix)
            results['agents'] = replace(agents, points_in_ego=True)
        return results


@TRANSFORMS.register_module()
class EgoOnly(BaseTransform):
    """No fusion: the ego hears nobody; goes before :class:`LoadCooperativePoints`.

    Ground truth stays that of all agents, as in the benchmarks: every method is asked the same.
    """

    def transform(self, results: dict) -> dict:
        """Leave the other agents out."""
        agents = results['agents'].ego_alone()
        del results['observe']  # which would bring them back
        results['agents'] = agents
        results['cloud_paths'] = results['cloud_paths'][: agents.num_frames]
        return results


@TRANSFORMS.register_module()
class MergeAgentPoints(BaseTransform):
    """Early fusion: one cloud of all agents' points at each time, as if the ego had seen it.

    Goes after :class:`ProjectPointsToEgo`. Adds ``message_bytes``, what each of the others sends:
    the points of its current cloud, 16 bytes each.
    """

    def transform(self, results: dict) -> dict:
        """Merge."""
        agents, clouds = results['agents'], results['points']
        if not agents.points_in_ego:
            raise SettingError('MergeAgentPoints has to come after ProjectPointsToEgo')
        frames = agents.num_frames
        senders = np.flatnonzero(agents.valid[1:].any(axis=1)) + 1
        results['message_bytes'] = [clouds[(n + 1) * frames - 1].nbytes for n in senders]
        results['points'] = [np.concatenate(clouds[t::frames]) for t in range(frames)]
        results['agents'] = agents.ego_alone(valid=agents.valid.any(axis=0))
        return results


@TRANSFORMS.register_module()
class CooperativeGlobalAugmentation(BaseTransform):
    """Mirror, rotate and scale the world; one draw for all agents, frames, objects and paths.

    Every agent's own frame is changed alike (see :meth:`Agents.moved`), so that the transform holds
    both before and after :class:`ProjectPointsToEgo`.

    Args:
        flip_probability: of mirroring y.
        rotation: angles are drawn from +-rotation (rad).
        scale: factors are drawn from this range.
    """

    def __init__(
        self,
        flip_probability: float = 0.5,
        rotation: float = np.pi / 4,
        scale: tuple[float, float] = (0.95, 1.05),
    ) -> None:
        self.flip_probability = flip_probability
        self.rotation = rotation
        self.scale = scale

    def transform(self, results: dict) -> dict:
        """Augment."""
        if 'points' not in results:
            raise SettingError(
                'CooperativeGlobalAugmentation has to come after LoadCooperativePoints'
            )
        rng = results['rng']
        mirror = -1.0 if rng.random() < self.flip_probability else 1.0
        angle = rng.uniform(-self.rotation, self.rotation)
        factor = rng.uniform(*self.scale)
        cos, sin = np.cos(angle), np.sin(angle)
        motion = np.eye(4)
        motion[:2, :2] = [[cos, -sin * mirror], [sin, cos * mirror]]
        motion[:3, :3] *= factor

        results.update(agents=results['agents'].moved(motion), augmented=True)
        matrix = motion.astype(np.float32)
        for points in [*results['points'], *results.get('future_points', [])]:
            move(points, matrix)
        boxes = transform_points(motion, results['gt_bboxes_3d'])
        boxes[:, 3:6] *= factor
        boxes[:, 6] = mirror * boxes[:, 6] + angle
        results['gt_bboxes_3d'] = boxes
        for name in ('gt_history_trajectories', 'gt_future_trajectories'):
            results[name] = results[name] @ motion[:2, :2].T
        if 'vector_map' in results:
            results['vector_map'] = move_polylines(
                motion, results['vector_map'], results['vector_map_mask']
            )
        return results


@TRANSFORMS.register_module()
class CooperativeRangeFilter(BaseTransform):
    """Drop objects, and points that are in the ego's frame already, outside a range.

    Args:
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres, ego frame. Points
            on the border are out, as in V2X-Real.
        label_range: the same for objects; that of the points by default. Evaluation looks at boxes
            in the plane alone: V2XPnP's has z from -15 to 15 m there.
        min_corners: corners of a box that must be inside for the object to stay (8 in V2XPnP, 2 in
            V2X-Real).
    """

    def __init__(
        self,
        point_cloud_range: list[float],
        label_range: list[float] | None = None,
        min_corners: int = 8,
    ) -> None:
        self.range = np.asarray(point_cloud_range, dtype=np.float32)
        self.label_range = self.range if label_range is None else np.asarray(label_range)
        self.min_corners = min_corners

    def transform(self, results: dict) -> dict:
        """Filter."""
        keep = corners_inside(results['gt_bboxes_3d'], self.label_range) >= self.min_corners
        for key in [key for key in results if key.startswith('gt_')]:
            results[key] = results[key][keep]
        in_ego = ['points'] if results['agents'].points_in_ego else []
        in_ego += ['future_points'] if 'future_points' in results else []
        for key in in_ego:
            results[key] = [points[: keep_inside(points, self.range)] for points in results[key]]
        return results
