"""Boxes in the world and in the ego's frame, as NumPy arrays.

A box in the ego's frame is mmdet3d's ``(x, y, z_bottom, l, w, h, yaw)``, metres and radians.
"""

import numpy as np

from .poses import invert_rigid, pose_to_matrix, yaw_of

__all__ = ['BOX_EDGES', 'boxes_from_world', 'corners_inside', 'corners_of']

_CORNERS = np.array(
    [[1, -1, 0], [1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 1], [1, 1, 1], [-1, 1, 1], [-1, -1, 1]]
) * np.array([0.5, 0.5, 1.0])

BOX_EDGES = np.array(
    [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
)
"""(12, 2) the two corners of each edge, in the order of :func:`corners_of`."""


def boxes_from_world(
    centres: np.ndarray, angles: np.ndarray, extents: np.ndarray, world_from_ego: np.ndarray
) -> np.ndarray:
    """Project annotated objects into the ego's frame.

    The ego may be tilted against an object; the object's roll and pitch in the ego's frame are
    dropped, as in the OpenCOOD family (``project_world_objects``).

    Args:
        centres: (M, 3) box centres in the world frame, metres.
        angles: (M, 3) ``[roll, yaw, pitch]`` in the world frame, degrees.
        extents: (M, 3) **half** length, width and height, metres.
        world_from_ego: (4, 4).

    Returns:
        (M, 7) float64 ``(x, y, z_bottom, l, w, h, yaw)``.
    """
    ego_from_object = invert_rigid(world_from_ego) @ pose_to_matrix(
        np.concatenate([centres, angles], axis=1)
    )
    boxes = np.empty((len(centres), 7))
    boxes[:, :3] = ego_from_object[:, :3, 3]
    boxes[:, 3:6] = 2.0 * np.asarray(extents, dtype=np.float64)
    boxes[:, 2] -= boxes[:, 5] / 2.0
    boxes[:, 6] = yaw_of(ego_from_object)
    return boxes


def corners_of(boxes: np.ndarray) -> np.ndarray:
    """Corners of boxes.

    Args:
        boxes: (M, 7).

    Returns:
        (M, 8, 3): front right, front left, rear left, rear right of the bottom, then of the top.
    """
    corners = _CORNERS * boxes[:, None, 3:6]
    cos, sin = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    x = corners[..., 0] * cos - corners[..., 1] * sin
    y = corners[..., 0] * sin + corners[..., 1] * cos
    return np.stack([x, y, corners[..., 2]], axis=-1) + boxes[:, None, :3]


def corners_inside(boxes: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Count the corners of each box that lie within a range, borders included.

    Args:
        boxes: (M, 7).
        limits: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.

    Returns:
        (M,) int: 0 to 8.
    """
    corners = corners_of(boxes)
    limits = np.asarray(limits, dtype=np.float64)
    return ((corners >= limits[:3]) & (corners <= limits[3:])).all(-1).sum(-1)
