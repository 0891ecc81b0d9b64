"""What the metric keeps of a sample."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .average_precision import DetectionFrame
from .instance_fields import InstanceFields

__all__ = ['Record', 'record_of']


@dataclass(frozen=True)
class Record:
    """What is kept of one sample: its boxes within the evaluation range, and their futures.

    ``trajectories`` (P, K, F, 2), ``gt_trajectories`` (G, F, 2) and ``gt_valid`` (G, F) belong to
    the rows of ``detection``; all three are None if the model doesn't forecast. ``mode_scores``
    (P, K) are there if K > 1.
    """

    name: str
    detection: DetectionFrame
    trajectories: np.ndarray | None = None
    gt_trajectories: np.ndarray | None = None
    gt_valid: np.ndarray | None = None
    mode_scores: np.ndarray | None = None
    message_bytes: tuple[int, ...] | None = None


def record_of(name: str, sample: Mapping, num_classes: int, eval_range: np.ndarray) -> Record:
    """Check one sample and reduce it to boxes within the evaluation range.

    Args:
        name: how errors call it.
        sample: see :class:`~.cooperative_metric.CooperativeMetric`.
        num_classes: labels go from 0 to one less.
        eval_range: ``(x_min, y_min, x_max, y_max)``, metres.

    Raises:
        KeyError: something is missing.
        ValueError: something has another shape, or holds values that cannot be.
    """
    truth = InstanceFields(name, 'gt_instances_3d', sample)
    predicted = InstanceFields(name, 'pred_instances_3d', sample)
    gt_boxes, boxes = truth.bev_boxes(), predicted.bev_boxes()
    gt_inside, inside = _inside(gt_boxes, eval_range), _inside(boxes, eval_range)
    detection = DetectionFrame(
        boxes=boxes[inside],
        scores=predicted.array('scores_3d', (len(boxes),), np.float32)[inside],
        labels=predicted.labels(len(boxes), num_classes)[inside],
        gt_boxes=gt_boxes[gt_inside],
        gt_labels=truth.labels(len(gt_boxes), num_classes)[gt_inside],
    )
    sent = tuple(sample['message_bytes']) if 'message_bytes' in sample else None
    if 'trajectories' not in predicted:
        return Record(name, detection, message_bytes=sent)
    valid = truth.array('future_valid', (len(gt_boxes), None), bool)
    num_steps = valid.shape[1]
    futures = truth.array(
        'future_trajectories', (len(gt_boxes), num_steps, 2), np.float32, used=valid
    )
    trajectories = predicted.array('trajectories', (len(boxes), None, num_steps, 2), np.float32)
    scores = None
    if trajectories.shape[1] > 1:
        scores = predicted.array('trajectory_scores', trajectories.shape[:2], np.float32)[inside]
    return Record(
        name,
        detection,
        trajectories[inside],
        futures[gt_inside],
        valid[gt_inside],
        scores,
        sent,
    )


def _inside(boxes: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the boxes (N, 5) have all four corners within the range."""
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    forward = 0.5 * boxes[:, 2:3] * np.stack([cos, sin], axis=1)
    left = 0.5 * boxes[:, 3:4] * np.stack([-sin, cos], axis=1)
    reach = np.abs(forward) + np.abs(left)
    low, high = boxes[:, :2] - reach, boxes[:, :2] + reach
    return ((low >= limits[:2]) & (high <= limits[2:])).all(axis=1)
