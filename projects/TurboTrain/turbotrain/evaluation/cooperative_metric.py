"""The metric of cooperative detection and forecasting, for mmengine's evaluator."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric

from .average_precision import DetectionFrame, frame_order_ap, global_sort_ap, match_detections
from .forecasting import (
    ForecastFrame,
    ForecastMetrics,
    evaluate_forecasts,
    likeliest_mode,
    standing_still,
)
from .instance_fields import InstanceFields

__all__ = ['CooperativeMetric']


@dataclass(frozen=True)
class _Record:
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


@METRICS.register_module()
class CooperativeMetric(BaseMetric):
    """Average precision, and ViP3D's forecasting metrics, of boxes within an evaluation range.

    Each sample is a dictionary (``Det3DDataSample.to_dict()``) with

    * ``gt_instances_3d``: ``bboxes_3d`` (LiDARInstance3DBoxes (M, 7), ego frame), ``labels_3d``
      (M,) and, for forecasting, ``future_trajectories`` (M, F, 2) in metres, absolute positions in
      the ego frame, and ``future_valid`` (M, F) bool;
    * ``pred_instances_3d``: ``bboxes_3d``, ``scores_3d``, ``labels_3d`` and, from a model that
      forecasts, ``trajectories`` (P, K, F, 2) and, if K > 1, ``trajectory_scores`` (P, K),
      probabilities.

    The result holds, **in percent**, with NaN for what nothing defines,

    * ``AP@0.5/vehicle``, ..., ``mAP@0.5``: detections ranked by score over all frames;
    * ``AP_frame_order@0.5/vehicle``, ..., ``mAP_frame_order@0.5``: frame after frame, as V2X-Real;
    * ``MR`` and ``EPA`` with all forecast classes pooled, ``EPA/vehicle``, ... of one class alone;
    * ``EPA_stationary``, ``EPA_stationary/vehicle``, ...: the same detections, forecast to stand
      still;

    **in metres**, ``ADE`` and ``FDE``; of a model with K > 1 modes these two are of its likeliest
    mode, MR and EPA of the best one, as in ViP3D, and there are ``minADE``, ``minFDE`` and
    ``Brier_minFDE`` of the best one, too; and, if the samples have ``message_bytes`` (a number for
    each agent that sent something to the ego), ``message_bytes``, the mean size of a message, 0
    without any. A mean over classes leaves out those without ground
    truth. Without ``trajectories`` in the predictions only the average precisions are there.

    Args:
        class_names: names of the labels, from 0.
        iou_thresholds: IoU of the bird's-eye view from which a detection counts as found.
        eval_range: ``(x_min, y_min, x_max, y_max)`` in metres, ego frame. Only boxes with all four
            corners inside (borders included) count, ground truth and predictions alike. The
            default is V2XPnP's.
        match_radius: metres between the centres of a match, see :mod:`.forecasting`.
        miss_threshold: metres of the final error above which a forecast misses.
        false_positive_weight: what a false positive costs in EPA, in hits.
        forecasting_score_threshold: detections that score lower are left out of the forecasting
            metrics (not of the average precision); the default keeps all.
        forecasting_classes: which classes the forecasting metrics look at; None means all.
        collect_device: ``'cpu'`` or ``'gpu'``, how results of several processes are gathered.
        prefix: put before all names, with a slash.

    Example:
        >>> test_evaluator = dict(type='CooperativeMetric', class_names=['vehicle'])
    """

    default_prefix = ''

    def __init__(
        self,
        class_names: Sequence[str],
        iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
        eval_range: Sequence[float] = (-70.4, -40.0, 70.4, 40.0),
        match_radius: float = 2.0,
        miss_threshold: float = 2.0,
        false_positive_weight: float = 0.5,
        forecasting_score_threshold: float = 0.0,
        forecasting_classes: Sequence[str] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.class_names = tuple(class_names)
        self.iou_thresholds = tuple(iou_thresholds)
        self.eval_range = np.asarray(eval_range, dtype=np.float64)
        self.match_radius = match_radius
        self.miss_threshold = miss_threshold
        self.false_positive_weight = false_positive_weight
        self.forecasting_score_threshold = forecasting_score_threshold
        self.forecasting_classes = tuple(
            class_names if forecasting_classes is None else forecasting_classes
        )
        if not self.class_names or isinstance(class_names, str):
            raise ValueError(f'class_names: expected a list of names, got {class_names!r}')
        if not self.iou_thresholds or not all(0 < t <= 1 for t in self.iou_thresholds):
            raise ValueError(f'iou_thresholds: expected values in (0, 1], got {iou_thresholds}')
        low_high = self.eval_range.reshape(2, -1)
        if self.eval_range.shape != (4,) or not (low_high[0] < low_high[1]).all():
            raise ValueError(f'eval_range: expected (x_min, y_min, x_max, y_max), got {eval_range}')
        unknown = set(self.forecasting_classes) - set(self.class_names)
        if unknown:
            raise ValueError(
                f'forecasting_classes: {sorted(unknown)} are not among class_names {class_names}'
            )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what the metrics need of each sample of a batch.

        Args:
            data_batch: not used.
            data_samples: the samples, with the fields that the class names.
        """
        for sample in data_samples:
            if 'scenario' in sample and 'frame' in sample:
                name = f'{sample["scenario"]}, frame {sample["frame"]}'
            else:
                name = str(sample.get('sample_idx', f'number {len(self.results)}'))
            self.results.append(self._record(name, sample))

    def compute_metrics(self, results: list[_Record]) -> dict[str, float]:
        """Compute all metrics of the dataset.

        Args:
            results: one record a sample, in the order of the dataset.

        Returns:
            Percent for AP, MR and EPA, metres for ADE and FDE; see the class.
        """
        matches = match_detections(
            [record.detection for record in results], self.iou_thresholds, len(self.class_names)
        )
        metrics: dict[str, float] = {}
        for kind, values in (
            ('AP', global_sort_ap(matches)),
            ('AP_frame_order', frame_order_ap(matches)),
        ):
            for threshold, row in zip(self.iou_thresholds, 100.0 * values, strict=True):
                for class_name, value in zip(self.class_names, row, strict=True):
                    metrics[f'{kind}@{threshold:g}/{class_name}'] = float(value)
                defined = row[~np.isnan(row)]
                metrics[f'm{kind}@{threshold:g}'] = (
                    float(defined.mean()) if len(defined) else float('nan')
                )
        sent = [size for record in results for size in record.message_bytes or ()]
        if any(record.message_bytes is not None for record in results):
            metrics['message_bytes'] = float(np.mean(sent)) if sent else 0.0
        return metrics | self._forecasting_metrics(results)

    def _forecasting_metrics(self, results: list[_Record]) -> dict[str, float]:
        """ADE, FDE, MR, EPA of the pooled classes, and EPA of each; empty without forecasts."""
        without = [record.name for record in results if record.trajectories is None]
        if len(without) == len(results):
            return {}
        if without:
            raise ValueError(
                f"sample {without[0]}: pred_instances_3d has no 'trajectories', but other "
                'samples do; a model has to forecast in every sample or in none'
            )
        modes = {record.trajectories.shape[1] for record in results}
        if len(modes) > 1:
            raise ValueError(f'samples differ in their number of modes: {sorted(modes)}')
        pooled = self._forecast_frames(results, self.forecasting_classes)
        overall = single = self._evaluate(pooled)
        metrics = {}
        if modes != {1}:
            single = self._evaluate(map(likeliest_mode, pooled))
            metrics = {
                'minADE': overall.ade,
                'minFDE': overall.fde,
                'Brier_minFDE': overall.brier_fde,
            }
        metrics |= {
            'ADE': single.ade,
            'FDE': single.fde,
            'MR': 100.0 * overall.miss_rate,
            'EPA': 100.0 * overall.epa,
            'EPA_stationary': 100.0 * self._evaluate(map(standing_still, pooled)).epa,
        }
        for class_name in self.forecasting_classes:
            frames = self._forecast_frames(results, [class_name])
            metrics[f'EPA/{class_name}'] = 100.0 * self._evaluate(frames).epa
            still = self._evaluate(map(standing_still, frames))
            metrics[f'EPA_stationary/{class_name}'] = 100.0 * still.epa
        return metrics

    def _evaluate(self, frames: Iterable[ForecastFrame]) -> ForecastMetrics:
        """Forecasting metrics with this metric's thresholds."""
        return evaluate_forecasts(
            frames, self.match_radius, self.miss_threshold, self.false_positive_weight
        )

    def _forecast_frames(
        self, results: Sequence[_Record], class_names: Sequence[str]
    ) -> list[ForecastFrame]:
        """The records, reduced to some classes and to detections with a sufficient score."""
        wanted = [self.class_names.index(class_name) for class_name in class_names]
        frames = []
        for record in results:
            detection = record.detection
            keep = np.isin(detection.labels, wanted)
            keep &= detection.scores >= self.forecasting_score_threshold
            gt_keep = np.isin(detection.gt_labels, wanted)
            frames.append(
                ForecastFrame(
                    centers=detection.boxes[keep, :2],
                    trajectories=record.trajectories[keep],
                    gt_centers=detection.gt_boxes[gt_keep, :2],
                    gt_trajectories=record.gt_trajectories[gt_keep],
                    gt_valid=record.gt_valid[gt_keep],
                    mode_scores=None if record.mode_scores is None else record.mode_scores[keep],
                )
            )
        return frames

    def _record(self, name: str, sample: Mapping) -> _Record:
        """Check one sample and reduce it to boxes within the evaluation range."""
        truth = InstanceFields(name, 'gt_instances_3d', sample)
        predicted = InstanceFields(name, 'pred_instances_3d', sample)
        gt_boxes, boxes = truth.bev_boxes(), predicted.bev_boxes()
        gt_inside, inside = self._inside(gt_boxes), self._inside(boxes)
        detection = DetectionFrame(
            boxes=boxes[inside],
            scores=predicted.array('scores_3d', (len(boxes),), np.float32)[inside],
            labels=predicted.labels(len(boxes), len(self.class_names))[inside],
            gt_boxes=gt_boxes[gt_inside],
            gt_labels=truth.labels(len(gt_boxes), len(self.class_names))[gt_inside],
        )
        sent = tuple(sample['message_bytes']) if 'message_bytes' in sample else None
        if 'trajectories' not in predicted:
            return _Record(name, detection, message_bytes=sent)
        valid = truth.array('future_valid', (len(gt_boxes), None), bool)
        num_steps = valid.shape[1]
        futures = truth.array(
            'future_trajectories', (len(gt_boxes), num_steps, 2), np.float32, used=valid
        )
        trajectories = predicted.array('trajectories', (len(boxes), None, num_steps, 2), np.float32)
        scores = None
        if trajectories.shape[1] > 1:
            scores = predicted.array('trajectory_scores', trajectories.shape[:2], np.float32)[
                inside
            ]
        return _Record(
            name,
            detection,
            trajectories[inside],
            futures[gt_inside],
            valid[gt_inside],
            scores,
            sent,
        )

    def _inside(self, boxes: np.ndarray) -> np.ndarray:
        """(N,) bool: which of the boxes (N, 5) have all four corners within the range."""
        cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
        forward = 0.5 * boxes[:, 2:3] * np.stack([cos, sin], axis=1)
        left = 0.5 * boxes[:, 3:4] * np.stack([-sin, cos], axis=1)
        reach = np.abs(forward) + np.abs(left)
        low, high = boxes[:, :2] - reach, boxes[:, :2] + reach
        return ((low >= self.eval_range[:2]) & (high <= self.eval_range[2:])).all(axis=1)
