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
    centers: np.ndarray,
    scores: np.ndarray,
    gt_centers: np.ndarray,
    radius: float,
    allowed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Let each prediction, by falling score, take the nearest free object (nuScenes' matching).

    Of equal scores the later prediction comes first, and of equal distances the earlier object, as
    in nuScenes' development kit.

    Args:
        centers: (P, 2) metres.
        scores: (P,).
        gt_centers: (G, 2) metres.
        radius: pairs this far apart, in metres, or further do not match.
        allowed: (P, G) bool. A prediction whose nearest free object is not allowed takes none, and
            leaves that object to those that follow; all are allowed if not given.

    Returns:
        Two arrays (N,): the rows of the matched predictions and of their ground truth.
    """
    distance = np.linalg.norm(centers[:, None] - gt_centers, axis=-1)
    row, gt_row = np.nonzero(distance < radius)
    order = np.lexsort((distance[row, gt_row], -row, -scores[row]))
    done: set[int] = set()
    taken: dict[int, int] = {}
    for i, j in zip(row[order].tolist(), gt_row[order].tolist(), strict=True):
        if i not in done and j not in taken:
            done.add(i)
            if allowed is None or allowed[i, j]:
                taken[j] = i
    return np.array([*taken.values()], dtype=np.int64), np.array([*taken], dtype=np.int64)
