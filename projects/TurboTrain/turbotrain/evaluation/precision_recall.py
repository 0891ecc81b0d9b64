"""Precision over recall of ranked detections, and the area under it."""

import numpy as np

__all__ = ['average_precision', 'precision_recall']


def precision_recall(
    true_positive: np.ndarray, num_ground_truth: int
) -> tuple[np.ndarray, np.ndarray]:
    """The precision-recall curve of ranked detections (VOC 2010, all points, monotone envelope).

    A curve of steps: between one recall and the next, precision is that of the next.

    Args:
        true_positive: (D,) bool, best-ranked detection first.
        num_ground_truth: how many objects there were to find.

    Returns:
        (H,) recall and (H,) precision at each of the H hits, in [0, 1]; the recall is NaN if there
        was nothing to find.
    """
    hits = np.flatnonzero(true_positive)
    found = np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate((found / (hits + 1))[::-1])[::-1]
    return found / (num_ground_truth or np.nan), precision


def average_precision(true_positive: np.ndarray, num_ground_truth: int) -> float:
    """Area under :func:`precision_recall`.

    Args:
        true_positive: (D,) bool, best-ranked detection first.
        num_ground_truth: how many objects there were to find.

    Returns:
        A value in [0, 1]; NaN if there was nothing to find.
    """
    if num_ground_truth == 0:
        return float('nan')
    _, precision = precision_recall(true_positive, num_ground_truth)
    return float(precision.sum() / num_ground_truth)
