"""Which prediction is of which object, by the distance of their centres."""

import numpy as np
from scipy.optimize import linear_sum_assignment

__all__ = ['match_centers', 'match_greedily']

_OUT_OF_REACH = 1e4
"""Cost of a pair beyond the match radius, in metres (ViP3D's value)."""


def match_centers(
    centers: np.ndarray, gt_centers: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Assign predictions to ground truth so that the sum of distances is least.

    Args:
        centers: (P, 2) metres.
        gt_centers: (G, 2) metres.
        radius: pairs further apart than this, in metres, do not match.

    Returns:
        Two arrays (N,): the rows of the matched predictions and of their ground truth.
    """
    distance = np.linalg.norm(centers[:, None] - gt_centers, axis=-1)
    row, gt_row = linear_sum_assignment(np.where(distance > radius, _OUT_OF_REACH, distance))
    keep = distance[row, gt_row] <= radius
    return row[keep], gt_row[keep]


def match_greedily(
    centers: np.ndarray, scores: np.ndarray, gt_centers: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Let each prediction, by falling score, take the nearest free object (nuScenes' matching).

    Args:
        centers: (P, 2) metres.
        scores: (P,).
        gt_centers: (G, 2) metres.
        radius: pairs further apart than this, in metres, do not match.

    Returns:
        Two arrays (N,): the rows of the matched predictions and of their ground truth.
    """
    distance = np.linalg.norm(centers[:, None] - gt_centers, axis=-1)
    row, gt_row = np.nonzero(distance <= radius)
    order = np.lexsort((distance[row, gt_row], row, -scores[row]))
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for i, j in zip(row[order].tolist(), gt_row[order].tolist(), strict=True):
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return np.array([*pairs], dtype=np.int64), np.array([*pairs.values()], dtype=np.int64)
