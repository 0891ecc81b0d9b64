"""What every point of every cloud goes through: one pass over memory each, in place.

A sample of four agents and five frames is hundreds of thousands of points. NumPy would make a pass
and an array of each comparison; these loops are compiled (numba, which mmdet3d brings) and cached.
All take float32 (P, 4) arrays x, y, z, intensity; those that drop points move the others to the
front and return how many there are.
"""

import numpy as np
from numba import njit

__all__ = ['keep_inside', 'keep_outside_body', 'move']


@njit(cache=True, nogil=True)
def keep_outside_body(points: np.ndarray, body: np.ndarray) -> int:
    """Keep the points that are not within ``[x_min, y_min, x_max, y_max]``, borders included."""
    kept = 0
    for i in range(points.shape[0]):
        x, y = points[i, 0], points[i, 1]
        if body[0] <= x <= body[2] and body[1] <= y <= body[3]:
            continue
        if kept != i:
            points[kept] = points[i]
        kept += 1
    return kept


@njit(cache=True, nogil=True)
def move(points: np.ndarray, b_from_a: np.ndarray) -> None:
    """Move points from frame a to frame b by a float32 (4, 4) matrix."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        for row in range(3):
            points[i, row] = (
                b_from_a[row, 0] * x + b_from_a[row, 1] * y + b_from_a[row, 2] * z
            ) + b_from_a[row, 3]


@njit(cache=True, nogil=True)
def keep_inside(points: np.ndarray, limits: np.ndarray) -> int:
    """Keep the points within ``[x_min, y_min, z_min, x_max, y_max, z_max]``, borders excluded."""
    kept = 0
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        if (
            limits[0] < x < limits[3] and limits[1] < y < limits[4] and limits[2] < z < limits[5]
        ):
            if kept != i:
                points[kept] = points[i]
            kept += 1
    return kept
