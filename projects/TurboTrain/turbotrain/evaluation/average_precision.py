"""Average precision of rotated boxes seen from above, as pure functions.

The protocol is that of the OpenCOOD family (V2X-Real ``eval_utils.py``, from its description): in
every frame, detections in descending score each take the free ground-truth box of their class that
they overlap most, if the overlap reaches the threshold; the area under the precision-recall curve
is VOC 2010's (all points, monotone envelope).

Two orders of the detections of all frames are in use, and both are here under their own names:
:func:`global_sort_ap` ranks them by score, which is what average precision means;
:func:`frame_order_ap` lets frames follow each other and ranks by score only within a frame, as
V2X-Real, V2V4Real and CooPre do.

Boxes are rows ``(x, y, l, w, yaw)`` in metres and radians, counter-clockwise from the x axis:
mmdet3d's ``LiDARInstance3DBoxes.bev``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmcv.ops import box_iou_rotated

__all__ = [
    'DetectionFrame',
    'Matches',
    'average_precision',
    'frame_order_ap',
    'global_sort_ap',
    'match_detections',
    'paired_iou',
]


@dataclass(frozen=True)
class DetectionFrame:
    """What was detected in one frame, and what was there.

    Attributes:
        boxes: (P, 5) detected boxes.
        scores: (P,) their confidences.
        labels: (P,) their classes, from 0.
        gt_boxes: (G, 5) ground-truth boxes.
        gt_labels: (G,) their classes, from 0.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    gt_boxes: np.ndarray
    gt_labels: np.ndarray


@dataclass(frozen=True)
class Matches:
    """The detections of all frames after matching: frame by frame, by falling score in each.

    Attributes:
        scores: (D,) confidences.
        labels: (D,) classes.
        true_positive: (T, D) bool, whether a detection found a ground-truth box at each of the T
            IoU thresholds.
        num_ground_truth: (C,) number of ground-truth boxes of each class.
    """

    scores: np.ndarray
    labels: np.ndarray
    true_positive: np.ndarray
    num_ground_truth: np.ndarray


def paired_iou(boxes: np.ndarray, other_boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of rotated boxes, row by row.

    Args:
        boxes: (N, 5).
        other_boxes: (N, 5).

    Returns:
        (N,) float32 in [0, 1].
    """
    if len(boxes) == 0:
        return np.zeros(0, dtype=np.float32)
    a = torch.as_tensor(np.ascontiguousarray(boxes, dtype=np.float32))
    b = torch.as_tensor(np.ascontiguousarray(other_boxes, dtype=np.float32))
    return box_iou_rotated(a, b, aligned=True).numpy()


def match_detections(
    frames: Sequence[DetectionFrame], iou_thresholds: Sequence[float], num_classes: int
) -> Matches:
    """Match the detections of every frame with its ground truth, greedily by score.

    The IoU of all pairs of all frames that can touch is computed in one call and shared by all
    thresholds. Equal scores keep the order in which the detector gave them.

    Args:
        frames: the frames, in the order of the dataset.
        iou_thresholds: T values in (0, 1]; a pair at or above one of them may match.
        num_classes: number of classes C.

    Returns:
        The matched detections.
    """
    orders = [np.argsort(-frame.scores, kind='stable') for frame in frames]
    detection_of_pair, gt_of_pair, pair_iou = _overlapping_pairs(
        frames, orders, min(iou_thresholds)
    )
    num_detections = sum(len(order) for order in orders)
    true_positive = np.zeros((len(iou_thresholds), num_detections), dtype=bool)
    for row, threshold in zip(true_positive, iou_thresholds, strict=True):
        keep = pair_iou >= threshold
        _match_greedily(detection_of_pair[keep], gt_of_pair[keep], row)
    gt_labels = _concatenate([frame.gt_labels for frame in frames], np.int64)
    return Matches(
        scores=_concatenate([f.scores[o] for f, o in zip(frames, orders, strict=True)], np.float64),
        labels=_concatenate([f.labels[o] for f, o in zip(frames, orders, strict=True)], np.int64),
        true_positive=true_positive,
        num_ground_truth=np.bincount(gt_labels, minlength=num_classes),
    )


def average_precision(true_positive: np.ndarray, num_ground_truth: int) -> float:
    """Area under the precision-recall curve of ranked detections (VOC 2010, all points).

    Args:
        true_positive: (D,) bool, best-ranked detection first.
        num_ground_truth: how many objects there were to find.

    Returns:
        A value in [0, 1]; NaN if there was nothing to find.
    """
    if num_ground_truth == 0:
        return float('nan')
    hits = np.flatnonzero(true_positive)
    precision = np.arange(1, len(hits) + 1) / (hits + 1)
    envelope = np.maximum.accumulate(precision[::-1])
    return float(envelope.sum() / num_ground_truth)


def global_sort_ap(matches: Matches) -> np.ndarray:
    """Average precision with the detections of all frames ranked by score.

    Args:
        matches: the matched detections.

    Returns:
        (T, C) in [0, 1]; NaN for classes without ground truth.
    """
    return _ap_of_classes(matches, np.argsort(-matches.scores, kind='stable'))


def frame_order_ap(matches: Matches) -> np.ndarray:
    """Average precision with the frames one after another, as V2X-Real's evaluation has it.

    It depends on the order of the frames; use it only to compare with numbers so computed.

    Args:
        matches: the matched detections.

    Returns:
        (T, C) in [0, 1]; NaN for classes without ground truth.
    """
    return _ap_of_classes(matches, np.arange(len(matches.scores)))


def _ap_of_classes(matches: Matches, order: np.ndarray) -> np.ndarray:
    """(T, C) average precision of the detections taken in ``order`` (D,)."""
    labels = matches.labels[order]
    ranked = matches.true_positive[:, order]
    return np.array(
        [
            [average_precision(row[labels == c], n) for c, n in enumerate(matches.num_ground_truth)]
            for row in ranked
        ]
    )


def _overlapping_pairs(
    frames: Sequence[DetectionFrame], orders: Sequence[np.ndarray], min_iou: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of one class and one frame with an IoU of at least ``min_iou``.

    Returns:
        Three arrays (N,): the detection's row and the ground-truth box's row, both counted over
        all frames, and their IoU. Rows are in the order in which matching looks at them: by
        detection, then by falling IoU, then by ground-truth box.
    """
    rows: list[np.ndarray] = []
    gt_rows: list[np.ndarray] = []
    pairs: list[np.ndarray] = []
    first_row = first_gt_row = 0
    for frame, order in zip(frames, orders, strict=True):
        boxes, labels = frame.boxes[order], frame.labels[order]
        # Boxes further apart than their half-diagonals together cannot touch.
        reach = _half_diagonal(boxes)[:, None] + _half_diagonal(frame.gt_boxes)
        offset = boxes[:, None, :2] - frame.gt_boxes[:, :2]
        near = (offset**2).sum(-1) < reach**2
        row, gt_row = np.nonzero(near & (labels[:, None] == frame.gt_labels))
        rows.append(row + first_row)
        gt_rows.append(gt_row + first_gt_row)
        pairs.append(np.stack([boxes[row], frame.gt_boxes[gt_row]]))
        first_row += len(boxes)
        first_gt_row += len(frame.gt_boxes)
    row, gt_row = _concatenate(rows, np.int64), _concatenate(gt_rows, np.int64)
    iou = paired_iou(*np.concatenate(pairs, axis=1)) if pairs else np.zeros(0, np.float32)
    keep = np.flatnonzero(iou >= min_iou)
    keep = keep[np.lexsort((gt_row[keep], -iou[keep], row[keep]))]
    return row[keep], gt_row[keep], iou[keep]


def _match_greedily(
    detection_of_pair: np.ndarray, gt_of_pair: np.ndarray, true_positive: np.ndarray
) -> None:
    """Let each detection in turn take the first free box of its pairs; sets ``true_positive``."""
    taken: set[int] = set()
    matched: set[int] = set()
    for detection, gt in zip(detection_of_pair.tolist(), gt_of_pair.tolist(), strict=True):
        if detection not in matched and gt not in taken:
            matched.add(detection)
            taken.add(gt)
    true_positive[list(matched)] = True


def _half_diagonal(boxes: np.ndarray) -> np.ndarray:
    """(N,) half the diagonal of boxes (N, 5), metres."""
    return 0.5 * np.hypot(boxes[:, 2], boxes[:, 3])


def _concatenate(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    """Join 1-D arrays, of which there may be none."""
    return np.concatenate([*arrays, np.zeros(0, dtype)]).astype(dtype, copy=False)
