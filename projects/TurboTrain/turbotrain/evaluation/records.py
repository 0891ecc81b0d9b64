"""What the metric keeps of a sample."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .average_precision import DetectionFrame
from .forecasting import ForecastFrame
from .instance_fields import InstanceFields

__all__ = ['Record', 'Region', 'detection_of', 'record_of']


@dataclass(frozen=True)
class Record:
    """What is kept of one sample: its boxes within the evaluation range, and their futures.

    The rows of ``forecast`` are those of ``detection``; it is None if the model doesn't forecast.
    Its ``mode_scores`` are there if K > 1, its velocities if the model and the data tell them.
    ``touching`` holds the boxes with any corner in the range, if a protocol asks for them.
    """

    name: str
    detection: DetectionFrame
    forecast: ForecastFrame | None = None
    message_bytes: tuple[int, ...] | None = None
    touching: DetectionFrame | None = None


@dataclass(frozen=True, eq=False)
class Region:
    """Which boxes count, predicted or not.

    Attributes:
        plane: (4,) ``(x_min, y_min, x_max, y_max)``, metres, ego frame; all four corners of a box
            seen from above have to be inside.
        z_range: (2,) lowest and highest z, metres, ego frame.
        min_corners: corners of the eight that have to be within ``z_range``.
        any_corner: one corner of the eight within both is enough.
    """

    plane: np.ndarray
    z_range: np.ndarray
    min_corners: int
    any_corner: bool = False

    def holds(self, boxes: np.ndarray, heights: np.ndarray) -> np.ndarray:
        """(N,) bool of boxes (N, 5) from above with bottoms and tops (N, 2), borders included."""
        cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
        forward = 0.5 * boxes[:, 2:3] * np.stack([cos, sin], axis=1)
        left = 0.5 * boxes[:, 3:4] * np.stack([-sin, cos], axis=1)
        between = (heights >= self.z_range[0]) & (heights <= self.z_range[1])
        if self.any_corner:
            sides = np.stack([forward + left, forward - left, -forward - left, left - forward], 1)
            corners = boxes[:, None, :2] + sides
            inside = ((corners >= self.plane[:2]) & (corners <= self.plane[2:])).all(axis=-1)
            return inside.any(axis=1) & between.any(axis=1)
        reach = np.abs(forward) + np.abs(left)
        low, high = boxes[:, :2] - reach, boxes[:, :2] + reach
        inside = ((low >= self.plane[:2]) & (high <= self.plane[2:])).all(axis=1)
        return inside & (4 * between.sum(axis=1) >= self.min_corners)


def detection_of(
    name: str, sample: Mapping, num_classes: int, region: Region
) -> tuple[DetectionFrame, np.ndarray, np.ndarray]:
    """The boxes that count, and which of (P,) predicted and (G,) true ones they are.

    Args and errors are those of :func:`record_of`.
    """
    truth = InstanceFields(name, 'gt_instances_3d', sample)
    predicted = InstanceFields(name, 'pred_instances_3d', sample)
    (gt_boxes, gt_heights), (boxes, heights) = truth.boxes(), predicted.boxes()
    gt_inside, inside = region.holds(gt_boxes, gt_heights), region.holds(boxes, heights)
    detection = DetectionFrame(
        boxes=boxes[inside],
        scores=predicted.array('scores_3d', (len(boxes),), np.float32)[inside],
        labels=predicted.labels(len(boxes), num_classes)[inside],
        gt_boxes=gt_boxes[gt_inside],
        gt_labels=truth.labels(len(gt_boxes), num_classes)[gt_inside],
    )
    return detection, inside, gt_inside


def record_of(name: str, sample: Mapping, num_classes: int, region: Region) -> Record:
    """Check one sample and reduce it to the boxes that count.

    Args:
        name: how errors call it.
        sample: see :class:`~.cooperative_metric.CooperativeMetric`.
        num_classes: labels go from 0 to one less.
        region: which boxes count.

    Raises:
        KeyError: something is missing.
        ValueError: something has another type or shape, or holds values that cannot be.
    """
    truth = InstanceFields(name, 'gt_instances_3d', sample)
    predicted = InstanceFields(name, 'pred_instances_3d', sample)
    detection, inside, gt_inside = detection_of(name, sample, num_classes, region)
    sent = tuple(sample['message_bytes']) if 'message_bytes' in sample else None
    if 'trajectories' not in predicted:
        return Record(name, detection, message_bytes=sent)
    valid = truth.array('future_valid', (len(gt_inside), None), bool)
    num_steps = valid.shape[1]
    futures = truth.array(
        'future_trajectories', (len(gt_inside), num_steps, 2), np.float32, used=valid
    )
    trajectories = predicted.array('trajectories', (len(inside), None, num_steps, 2), np.float32)
    scores = velocities = gt_velocities = None
    if trajectories.shape[1] > 1:
        scores = predicted.array('trajectory_scores', trajectories.shape[:2], np.float32)[inside]
    if 'velocity' in predicted:
        velocities = predicted.array('velocity', (len(inside), 2), np.float32)[inside]
    if 'velocity' in truth:
        known = truth.array('velocity_valid', (len(gt_inside),), bool)
        gt_velocities = truth.array('velocity', (len(gt_inside), 2), np.float32, used=known)
        gt_velocities = np.where(known[:, None], gt_velocities, np.nan)[gt_inside]
    forecast = ForecastFrame(
        centers=detection.boxes[:, :2],
        trajectories=trajectories[inside],
        gt_centers=detection.gt_boxes[:, :2],
        gt_trajectories=futures[gt_inside],
        gt_valid=valid[gt_inside],
        mode_scores=scores,
        scores=detection.scores,
        velocities=velocities,
        gt_velocities=gt_velocities,
    )
    return Record(name, detection, forecast, sent)
