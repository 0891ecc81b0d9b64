"""Intersection over union of rotated rectangles, exact to float64's rounding.

Rectangles are rows ``(x, y, l, w, yaw)`` in metres and radians, counter-clockwise from the x axis:
mmdet3d's ``LiDARInstance3DBoxes.bev``. Loops are compiled by numba, which mmdet3d brings.
"""

import numpy as np

from ..compilation import compiled

__all__ = ['paired_iou']


def paired_iou(boxes: np.ndarray, other_boxes: np.ndarray) -> np.ndarray:
    r"""Intersection over union, row by row.

    .. math:: \mathrm{IoU}(A, B) = \frac{|A \cap B|}{|A| + |B| - |A \cap B|}

    Args:
        boxes: (N, 5).
        other_boxes: (N, 5).

    Returns:
        (N,) float64 in [0, 1]; 0 where a rectangle has no area.
    """
    return _paired_iou(
        np.ascontiguousarray(boxes, dtype=np.float64),
        np.ascontiguousarray(other_boxes, dtype=np.float64),
    )


@compiled
def _paired_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    found = np.zeros(len(boxes))
    # A quadrangle gains one corner from each of the four lines that clip it, or two where corners
    # lie on the line but for rounding.
    corners, clipped = np.empty((12, 2)), np.empty((12, 2))
    for n in range(len(boxes)):
        area, other_area = boxes[n, 2] * boxes[n, 3], others[n, 2] * others[n, 3]
        if not (area > 0.0 and other_area > 0.0):
            continue
        _corners_seen_from(boxes[n], others[n], corners)
        count = 4
        for axis in range(2):
            half = 0.5 * others[n, 2 + axis]
            for side in (1.0, -1.0):
                count = _clip(corners, count, axis, side, half, clipped)
                corners, clipped = clipped, corners
        overlap = min(_area(corners, count), area, other_area)
        found[n] = overlap / (area + other_area - overlap)
    return found


@compiled
def _corners_seen_from(box: np.ndarray, other: np.ndarray, corners: np.ndarray) -> None:
    """The corners of a rectangle, counter-clockwise, in the frame of another's centre and axes."""
    cos, sin = np.cos(other[4]), np.sin(other[4])
    dx, dy = box[0] - other[0], box[1] - other[1]
    x, y = cos * dx + sin * dy, cos * dy - sin * dx
    cos, sin = np.cos(box[4] - other[4]), np.sin(box[4] - other[4])
    ahead_x, ahead_y = 0.5 * box[2] * cos, 0.5 * box[2] * sin
    left_x, left_y = -0.5 * box[3] * sin, 0.5 * box[3] * cos
    for i, (ahead, left) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        corners[i, 0] = x + ahead * ahead_x + left * left_x
        corners[i, 1] = y + ahead * ahead_y + left * left_y


@compiled
def _clip(
    corners: np.ndarray, count: int, axis: int, side: float, half: float, clipped: np.ndarray
) -> int:
    """Keep the part of a convex polygon where ``side * coordinate <= half``; its corners' number.

    Source: Sutherland and Hodgman, Reentrant polygon clipping, CACM 1974.
    """
    kept = 0
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        inside, next_inside = half - side * corners[i, axis], half - side * corners[j, axis]
        if inside >= 0.0:
            clipped[kept, 0], clipped[kept, 1] = corners[i, 0], corners[i, 1]
            kept += 1
        if (inside >= 0.0) != (next_inside >= 0.0):
            way = inside / (inside - next_inside)
            clipped[kept, 0] = corners[i, 0] + way * (corners[j, 0] - corners[i, 0])
            clipped[kept, 1] = corners[i, 1] + way * (corners[j, 1] - corners[i, 1])
            kept += 1
    return kept


@compiled
def _area(corners: np.ndarray, count: int) -> float:
    """Of a polygon whose corners are counter-clockwise."""
    total = 0.0
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        total += corners[i, 0] * corners[j, 1] - corners[j, 0] * corners[i, 1]
    return 0.5 * max(total, 0.0)
