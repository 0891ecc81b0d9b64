"""How well detections tell which way objects point."""

from collections.abc import Iterable

import numpy as np

from ..structures import wrapped
from .average_precision import DetectionFrame
from .center_matching import match_centers

__all__ = ['heading_errors']


def heading_errors(
    frames: Iterable[DetectionFrame], label: int, radius: float, score_threshold: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the headings of the detections of a class that are matched by their centres.

    Args:
        frames: the frames, in any order.
        label: of the class.
        radius: largest distance between the centres of a match, metres.
        score_threshold: detections that do not score above it are left out.

    Returns:
        axis: (N,) angle between the axes of a detection and of its object, rad, in [0, pi / 2]:
            front and rear count as the same.
        reversed: (N,) bool, whether the rear was taken for the front.
    """
    turns = [np.zeros(0)]
    for frame in frames:
        found = frame.boxes[(frame.labels == label) & (frame.scores > score_threshold)]
        truth = frame.gt_boxes[frame.gt_labels == label]
        row, gt_row = match_centers(found[:, :2], truth[:, :2], radius)
        turn = found[row, 4].astype(np.float64) - truth[gt_row, 4]
        turns.append(np.abs(wrapped(turn)))
    turn = np.concatenate(turns)
    return np.minimum(turn, np.pi - turn), turn > np.pi / 2
