"""Rigid poses: six numbers on disk, 4x4 matrices everywhere else.

Matrices are float64 and named by their frames: ``ego_from_agent @ p_agent = p_ego``. On disk a
pose is ``[x, y, z, roll, yaw, pitch]`` in metres and **degrees** (the OpenCOOD family's order);
positive pitch lifts the nose and positive roll lowers the left side, so that
``R = Rz(yaw) @ Ry(-pitch) @ Rx(-roll)`` in a right-handed frame with z up.
"""

import numpy as np

__all__ = [
    'as_pose',
    'invert_rigid',
    'matrix_to_pose',
    'pose_to_matrix',
    'transform_points',
    'wrapped',
    'yaw_of',
]

_HUGE = 1e12  # what no place or angle is


def pose_to_matrix(pose: np.ndarray) -> np.ndarray:
    """Turn poses as they are on disk into matrices.

    Args:
        pose: (..., 6) ``[x, y, z, roll, yaw, pitch]`` in metres and degrees.

    Returns:
        (..., 4, 4) float64, ``world_from_body``.
    """
    pose = np.asarray(pose, dtype=np.float64)
    if pose.shape[-1:] != (6,):
        raise ValueError(f'a pose has 6 numbers [x, y, z, roll, yaw, pitch], got {pose.shape}')
    sr, sy, sp = np.moveaxis(np.sin(np.deg2rad(pose[..., 3:])), -1, 0)
    cr, cy, cp = np.moveaxis(np.cos(np.deg2rad(pose[..., 3:])), -1, 0)
    matrix = np.zeros((*pose.shape[:-1], 4, 4))
    matrix[..., 0, :3] = np.stack([cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr], -1)
    matrix[..., 1, :3] = np.stack([sy * cp, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr], -1)
    matrix[..., 2, :3] = np.stack([sp, -cp * sr, cp * cr], -1)
    matrix[..., :3, 3] = pose[..., :3]
    matrix[..., 3, 3] = 1.0
    return matrix


def matrix_to_pose(matrix: np.ndarray) -> np.ndarray:
    """Inverse of :func:`pose_to_matrix`, for pitch within (-90, 90) degrees.

    Args:
        matrix: (..., 4, 4) rigid transforms.

    Returns:
        (..., 6) ``[x, y, z, roll, yaw, pitch]`` in metres and degrees.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    roll = np.arctan2(-matrix[..., 2, 1], matrix[..., 2, 2])
    yaw = np.arctan2(matrix[..., 1, 0], matrix[..., 0, 0])
    pitch = np.arcsin(np.clip(matrix[..., 2, 0], -1.0, 1.0))
    angles = np.rad2deg(np.stack([roll, yaw, pitch], -1))
    return np.concatenate([matrix[..., :3, 3], angles], -1)


def as_pose(numbers: np.ndarray) -> np.ndarray | None:
    """A pose in either of the two ways in which poses come.

    Args:
        numbers: (6,) finite ``[x, y, z, roll, yaw, pitch]``, or a rigid (4, 4) matrix; float64.

    Returns:
        (4, 4) float64, or None if they are neither.
    """
    if numbers.shape not in ((6,), (4, 4)) or not (np.abs(numbers) < _HUGE).all():
        return None
    if numbers.shape == (6,):
        return pose_to_matrix(numbers)
    rotation = numbers[:3, :3]
    rigid = np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3
    rigid = rigid and np.linalg.det(rotation) > 0 and np.allclose(numbers[3], [0, 0, 0, 1])
    return numbers if rigid else None


def invert_rigid(matrix: np.ndarray) -> np.ndarray:
    """Invert rigid transforms: ``b_from_a`` becomes ``a_from_b``; (..., 4, 4) float64."""
    rotation = np.swapaxes(matrix[..., :3, :3], -1, -2)
    inverse = np.zeros_like(matrix, dtype=np.float64)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -np.einsum('...ij,...j->...i', rotation, matrix[..., :3, 3])
    inverse[..., 3, 3] = 1.0
    return inverse


def transform_points(b_from_a: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Move points from frame a to frame b.

    Args:
        b_from_a: (4, 4) transform.
        points: (..., 3+) coordinates in metres; columns after the third are kept as they are.

    Returns:
        A new array of the same shape and dtype as ``points``.
    """
    moved = points.copy()
    moved[..., :3] = points[..., :3] @ b_from_a[:3, :3].T + b_from_a[:3, 3]
    return moved


def wrapped(angle: np.ndarray) -> np.ndarray:
    """The same angles, in radians, within [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def yaw_of(matrix: np.ndarray) -> np.ndarray:
    """Heading of the x axis in the xy plane of transforms (..., 4, 4), in radians."""
    return np.arctan2(matrix[..., 1, 0], matrix[..., 0, 0])
