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
mmdet3d's ``LiDARInstance3DBoxes.bev``. Distances are from the origin, where the ego is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compilation import compiled
from .precision_recall import average_precision, precision_recall
from .rotated_iou import paired_iou

__all__ = [
    'DetectionFrame',
    'Matches',
    'Overlaps',
    'find_overlaps',
    'frame_order_ap',
    'global_sort_ap',
    'global_sort_curves',
    'match_detections',
    'match_overlaps',
    'match_truths',
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
class Overlaps:
    """All frames' detections and ground truth, and which of them overlap.

    Attributes:
        scores: (D,) confidences of the detections: frame by frame, by falling score in each.
        labels: (D,) their classes.
        distances: (D,) metres from the ego to their centres.
        gt_labels: (G,) classes of the ground truth, frame by frame.
        gt_distances: (G,) metres.
        detection: (N,) row of the detection of each pair of one frame and class that overlaps.
        ground_truth: (N,) row of its ground truth.
        iou: (N,). Pairs are in the order in which matching looks at them: by detection, then by
            falling IoU, then by ground truth.
    """

    scores: np.ndarray
    labels: np.ndarray
    distances: np.ndarray
    gt_labels: np.ndarray
    gt_distances: np.ndarray
    detection: np.ndarray
    ground_truth: np.ndarray
    iou: np.ndarray

    def within(self, low: float, high: float) -> 'Overlaps':
        """Only what is at least ``low`` and less than ``high`` metres away, found or true.

        As V2V4Real and CooPre have it: an object just inside, found just outside, is missed.
        """
        keep = (self.distances >= low) & (self.distances < high)
        gt_keep = (self.gt_distances >= low) & (self.gt_distances < high)
        pair = keep[self.detection] & gt_keep[self.ground_truth]
        return Overlaps(
            scores=self.scores[keep],
            labels=self.labels[keep],
            distances=self.distances[keep],
            gt_labels=self.gt_labels[gt_keep],
            gt_distances=self.gt_distances[gt_keep],
            detection=(np.cumsum(keep) - 1)[self.detection[pair]],
            ground_truth=(np.cumsum(gt_keep) - 1)[self.ground_truth[pair]],
            iou=self.iou[pair],
        )


@dataclass(frozen=True)
class Matches:
    """The detections of all frames after matching: frame by frame, by falling score in each.

    Attributes:
        scores: (D,) confidences.
        labels: (D,) classes.
        ground_truth: (T, D) row of the ground truth, counted over all frames, that a detection
            found at each of the T IoU thresholds; -1 where it found none.
        num_ground_truth: (C,) number of ground-truth boxes of each class.
    """

    scores: np.ndarray
    labels: np.ndarray
    ground_truth: np.ndarray
    num_ground_truth: np.ndarray

    @property
    def true_positive(self) -> np.ndarray:
        """(T, D) bool, whether a detection found an object at each of the thresholds."""
        return self.ground_truth >= 0


def find_overlaps(frames: Sequence[DetectionFrame]) -> Overlaps:
    """Overlap the detections of every frame with its ground truth of the same class.

    Only boxes near enough to touch are compared, those of all frames in one call. Equal scores keep
    the order in which the detector gave them.

    Args:
        frames: the frames, in the order of the dataset.
    """
    orders = [np.argsort(-frame.scores, kind='stable') for frame in frames]
    ordered = list(zip(frames, orders, strict=True))
    boxes = _concatenate([frame.boxes[order] for frame, order in ordered], (5,))
    gt_boxes = _concatenate([frame.gt_boxes for frame in frames], (5,))
    labels = _concatenate([frame.labels[order] for frame, order in ordered]).astype(np.int64)
    gt_labels = _concatenate([frame.gt_labels for frame in frames]).astype(np.int64)
    begins = np.cumsum([0, *(len(frame.boxes) for frame in frames)])
    gt_begins = np.cumsum([0, *(len(frame.gt_boxes) for frame in frames)])
    detection, ground_truth = _near_pairs(boxes, labels, begins, gt_boxes, gt_labels, gt_begins)
    iou = paired_iou(boxes[detection], gt_boxes[ground_truth])
    keep = np.flatnonzero(iou > 0.0)
    keep = keep[np.lexsort((ground_truth[keep], -iou[keep], detection[keep]))]
    return Overlaps(
        scores=_concatenate([frame.scores[order] for frame, order in ordered]),
        labels=labels,
        distances=np.hypot(boxes[:, 0], boxes[:, 1]),
        gt_labels=gt_labels,
        gt_distances=np.hypot(gt_boxes[:, 0], gt_boxes[:, 1]),
        detection=detection[keep],
        ground_truth=ground_truth[keep],
        iou=iou[keep],
    )


def match_overlaps(
    overlaps: Overlaps, iou_thresholds: Sequence[float], num_classes: int
) -> Matches:
    """Let every detection in turn take the free box that it overlaps most.

    Args:
        overlaps: what overlaps.
        iou_thresholds: T values in (0, 1]; a pair at or above one of them may match.
        num_classes: number of classes C.
    """
    return Matches(
        scores=overlaps.scores,
        labels=overlaps.labels,
        ground_truth=_match_greedily(
            overlaps.detection,
            overlaps.ground_truth,
            overlaps.iou,
            np.asarray(iou_thresholds, dtype=np.float64),
            len(overlaps.scores),
            len(overlaps.gt_labels),
        ),
        num_ground_truth=np.bincount(overlaps.gt_labels, minlength=num_classes),
    )


def match_truths(overlaps: Overlaps, iou_thresholds: Sequence[float], num_classes: int) -> Matches:
    """Let every object in turn take the free detection that overlaps it most, whatever its score.

    So does DAIR-V2X's evaluation (``v2x/eval*``, from its description). That a detection serves one
    object only is our reading. A confident detection is a false alarm where a doubtful one lies
    better.

    Args:
        overlaps: what overlaps.
        iou_thresholds: see :func:`match_overlaps`.
        num_classes: see :func:`match_overlaps`.
    """
    order = np.lexsort((overlaps.detection, -overlaps.iou, overlaps.ground_truth))
    taken = _match_greedily(
        overlaps.ground_truth[order],
        overlaps.detection[order],
        overlaps.iou[order],
        np.asarray(iou_thresholds, dtype=np.float64),
        len(overlaps.gt_labels),
        len(overlaps.scores),
    )
    ground_truth = np.full((len(taken), len(overlaps.scores)), -1)
    threshold, truth = np.nonzero(taken >= 0)
    ground_truth[threshold, taken[threshold, truth]] = truth
    return Matches(
        scores=overlaps.scores,
        labels=overlaps.labels,
        ground_truth=ground_truth,
        num_ground_truth=np.bincount(overlaps.gt_labels, minlength=num_classes),
    )


def match_detections(
    frames: Sequence[DetectionFrame], iou_thresholds: Sequence[float], num_classes: int
) -> Matches:
    """:func:`match_overlaps` of :func:`find_overlaps`."""
    return match_overlaps(find_overlaps(frames), iou_thresholds, num_classes)


def global_sort_ap(matches: Matches) -> np.ndarray:
    """Average precision with the detections of all frames ranked by score.

    Args:
        matches: the matched detections.

    Returns:
        (T, C) in [0, 1]; NaN for classes without ground truth.
    """
    return np.array(_of_classes(matches, _by_score(matches), average_precision))


def global_sort_curves(matches: Matches) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """The curves whose areas :func:`global_sort_ap` gives.

    Args:
        matches: the matched detections.

    Returns:
        For each of the T thresholds and C classes, what :func:`precision_recall` returns.
    """
    return _of_classes(matches, _by_score(matches), precision_recall)


def frame_order_ap(matches: Matches) -> np.ndarray:
    """Average precision with the frames one after another, as V2X-Real's evaluation has it.

    It depends on the order of the frames; use it only to compare with numbers so computed.

    Args:
        matches: the matched detections.

    Returns:
        (T, C) in [0, 1]; NaN for classes without ground truth.
    """
    order = np.arange(len(matches.scores))
    return np.array(_of_classes(matches, order, average_precision))


def _by_score(matches: Matches) -> np.ndarray:
    return np.argsort(-matches.scores, kind='stable')


def _of_classes(
    matches: Matches, order: np.ndarray, measure: Callable[[np.ndarray, int], Any]
) -> list[list[Any]]:
    """T x C: a measure of each class's detections, taken in ``order`` (D,), at each threshold."""
    labels = matches.labels[order]
    return [
        [measure(row[labels == c], n) for c, n in enumerate(matches.num_ground_truth)]
        for row in matches.true_positive[:, order]
    ]


@compiled
def _near_pairs(
    boxes: np.ndarray,
    labels: np.ndarray,
    begins: np.ndarray,
    gt_boxes: np.ndarray,
    gt_labels: np.ndarray,
    gt_begins: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of one frame and class that are no further apart than their half-diagonals reach."""
    reach = 0.5 * np.hypot(boxes[:, 2], boxes[:, 3])
    gt_reach = 0.5 * np.hypot(gt_boxes[:, 2], gt_boxes[:, 3])
    rows, gt_rows = [], []
    for frame in range(len(begins) - 1):
        for i in range(begins[frame], begins[frame + 1]):
            for j in range(gt_begins[frame], gt_begins[frame + 1]):
                dx, dy = boxes[i, 0] - gt_boxes[j, 0], boxes[i, 1] - gt_boxes[j, 1]
                near = dx * dx + dy * dy < (reach[i] + gt_reach[j]) ** 2
                if near and labels[i] == gt_labels[j]:
                    rows.append(i)
                    gt_rows.append(j)
    return np.array(rows, dtype=np.int64), np.array(gt_rows, dtype=np.int64)


@compiled
def _match_greedily(
    detection: np.ndarray,
    ground_truth: np.ndarray,
    iou: np.ndarray,
    thresholds: np.ndarray,
    num_detections: int,
    num_ground_truth: int,
) -> np.ndarray:
    """(T, D) the free box that a detection finds among its pairs, the best one first, or -1."""
    found = np.full((len(thresholds), num_detections), -1)
    for t in range(len(thresholds)):
        taken = np.zeros(num_ground_truth, dtype=np.bool_)
        for n in range(len(iou)):
            i, j = detection[n], ground_truth[n]
            if iou[n] >= thresholds[t] and found[t, i] < 0 and not taken[j]:
                found[t, i] = j
                taken[j] = True
    return found


def _concatenate(arrays: list[np.ndarray], shape: tuple[int, ...] = ()) -> np.ndarray:
    """Join arrays (N_i, ...) to float64, of which there may be none."""
    return np.concatenate([*arrays, np.zeros((0, *shape))]).astype(np.float64, copy=False)
