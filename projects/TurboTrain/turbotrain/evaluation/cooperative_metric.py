"""The metric of cooperative detection and forecasting, for mmengine's evaluator."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from ..errors import SettingError
from .average_precision import (
    DetectionFrame,
    find_overlaps,
    frame_order_ap,
    global_sort_ap,
    match_overlaps,
    match_truths,
)
from .baselines import constant_velocity, standing_still, true_velocity
from .forecast_protocols import PROTOCOLS
from .forecasting import (
    ForecastFrame,
    ForecastMetrics,
    evaluate_forecasts,
    likeliest_mode,
)
from .orientation import heading_errors
from .records import Record, Region, detection_of, record_of

__all__ = ['CooperativeMetric']

_DETECTION_PROTOCOLS = ('coalign', 'dair')
_STEP = 0.5  # seconds between positions of a path, of data that do not say


@METRICS.register_module()
class CooperativeMetric(BaseMetric):
    """Average precision, and ViP3D's forecasting metrics, of boxes within an evaluation range.

    Each sample is a dictionary (``Det3DDataSample.to_dict()``) with

    * ``gt_instances_3d``: ``bboxes_3d`` (LiDARInstance3DBoxes (M, 7), ego frame), ``labels_3d``
      (M,) and, for forecasting, ``future_trajectories`` (M, F, 2) in metres, absolute positions in
      the ego frame, and ``future_valid`` (M, F) bool; ``velocity`` (M, 2) in m/s with
      ``velocity_valid`` (M,) bool, if they are known;
    * ``pred_instances_3d``: ``bboxes_3d``, ``scores_3d``, ``labels_3d`` and, from a model that
      forecasts, ``trajectories`` (P, K, F, 2) and, if K > 1, ``trajectory_scores`` (P, K),
      probabilities; ``velocity`` (P, 2), if it tells them.

    The result holds, **in percent**, with NaN for what nothing defines,

    * ``AP@0.5/vehicle``, ..., ``mAP@0.5``: detections ranked by score over all frames;
      ``AP@0.5/vehicle/0-30m``, ..., ``mAP@0.5/0-30m``: the same of what is so far from the ego;
    * ``AP_frame_order@0.5/vehicle``, ..., ``mAP_frame_order@0.5``: frame after frame, as V2X-Real;
    * ``AP_coalign@0.5/vehicle``, ..., and ``AP_dair@0.5/vehicle``, ..., if they are asked for: see
      ``detection_protocols``;
    * ``MR`` and ``EPA`` with all forecast classes pooled, ``MR/vehicle``, ``EPA/vehicle``, ... of
      one class alone, and ``mEPA``, the mean of these;
    * what EPA is made of, as shares of the objects that count: ``EPA_hits``, ``EPA_misses`` (found,
      but the forecast is wrong), ``EPA_not_found``, and ``EPA_false_alarms``. EPA is hits minus
      ``false_positive_weight`` times false alarms;
    * ``EPA_stationary``, ``EPA_stationary/vehicle``, ...: the same detections, forecast to stand
      still; ``EPA_constant_velocity``, ... the same at the velocity that was detected, if the model
      tells it; and ``EPA_true_velocity``, ... at the velocity of the matched object, if the data
      tell it. ADE and FDE have the same baselines;
    * ``yaw_reversed/vehicle``, ...: share of the matched detections whose rear was taken for the
      front;

    **in degrees** ``yaw_error/vehicle``, ..., the median angle between the axes of matched
    detections and their objects;

    **in metres**, ``ADE`` and ``FDE``, pooled and ``ADE/vehicle``, ...; of a model with K > 1 modes
    these two are of its likeliest mode, MR and EPA of the best one, as in ViP3D, and there are
    ``minADE``, ``minFDE`` and ``Brier_minFDE`` of the best one, too; and, if the samples have
    ``message_bytes`` (a number for each agent that sent something to the ego), ``message_bytes``,
    the mean size of a message, 0 without any. A mean over classes leaves out those without ground
    truth. Without ``trajectories`` in the predictions only the average precisions are there.

    Args:
        class_names: names of the labels, from 0.
        iou_thresholds: IoU of the bird's-eye view from which a detection counts as found.
        eval_range: ``(x_min, y_min, x_max, y_max)`` in metres, ego frame. Only boxes with all four
            corners inside (borders included) count, ground truth and predictions alike. The
            default is V2XPnP's.
        z_range: ``(z_min, z_max)`` in metres, ego frame, for the heights of the same boxes; that of
            the labels in the test pipeline, so that what is no object there is no false alarm
            either. OpenCOOD leaves such predictions out, too.
        min_corners: corners of the eight that have to be within ``z_range``; as in the pipeline.
        range_bins: spans of distance from the ego (m) that average precision is also given for;
            the default is V2V4Real's.
        detection_protocols: further average precisions that papers on DAIR-V2X report. ``coalign``
            is OpenCOOD's since its evaluator ranks by score over all frames, the same numbers as
            ``AP``. ``dair`` is the official one: each object takes the detection that overlaps it
            most, whatever its score, and a box counts with any corner in ``eval_range`` and
            ``z_range``.
        protocol: whose definition of the forecasting metrics, a name of
            :data:`~.forecast_protocols.PROTOCOLS`: ``vip3d``, ``vad``, ``uniad`` or ``univ2x``.
        match_radius: metres between the centres of a match; the protocol's if not given, as the
            following ones.
        miss_threshold: metres of the final error above which a forecast misses.
        false_positive_weight: what a false positive costs in EPA, in hits.
        counted: which objects EPA is a share of: those whose last position is known (``final``),
            all of whose positions are (``all``), or ``every`` one.
        forecasting_score_threshold: detections that do not score above it are left out of the
            forecasting metrics (not of the average precision); 0 keeps all.
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
        z_range: Sequence[float] = (-15.0, 15.0),
        min_corners: int = 8,
        range_bins: Sequence[tuple[float, float]] = ((0, 30), (30, 50), (50, 100)),
        detection_protocols: Sequence[str] = (),
        protocol: str = 'vip3d',
        match_radius: float | None = None,
        miss_threshold: float | None = None,
        false_positive_weight: float | None = None,
        counted: str | None = None,
        forecasting_score_threshold: float | None = None,
        forecasting_classes: Sequence[str] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.class_names = tuple(class_names)
        self.iou_thresholds = tuple(iou_thresholds)
        self.eval_range = np.asarray(eval_range, dtype=np.float64)
        self.detection_protocols = tuple(detection_protocols)
        if not set(self.detection_protocols) <= set(_DETECTION_PROTOCOLS):
            raise SettingError(
                f'detection_protocols: expected some of {_DETECTION_PROTOCOLS}, got '
                f'{detection_protocols!r}'
            )
        if protocol not in PROTOCOLS:
            raise SettingError(f'protocol must be one of {[*PROTOCOLS]}, got {protocol!r}')
        own: dict[str, Any] = dict(
            match_radius=match_radius,
            miss_threshold=miss_threshold,
            false_positive_weight=false_positive_weight,
            counted=counted,
            score_threshold=forecasting_score_threshold,
        )
        given = {name: value for name, value in own.items() if value is not None}
        self.protocol = replace(PROTOCOLS[protocol], **given)
        self.range_bins = [tuple(span) for span in range_bins]
        if not all(len(span) == 2 and 0 <= span[0] < span[1] for span in self.range_bins):
            raise SettingError(f'range_bins: expected pairs (from, to) in metres, got {range_bins}')
        self.forecasting_classes = tuple(
            class_names if forecasting_classes is None else forecasting_classes
        )
        if not self.class_names or isinstance(class_names, str):
            raise SettingError(f'class_names: expected a list of names, got {class_names!r}')
        if not self.iou_thresholds or not all(0 < t <= 1 for t in self.iou_thresholds):
            raise SettingError(f'iou_thresholds: expected values in (0, 1], got {iou_thresholds}')
        low_high = self.eval_range.reshape(2, -1)
        if self.eval_range.shape != (4,) or not (low_high[0] < low_high[1]).all():
            raise SettingError(
                f'eval_range: expected (x_min, y_min, x_max, y_max), got {eval_range}'
            )
        if len(z_range) != 2 or not z_range[0] < z_range[1]:
            raise SettingError(f'z_range: expected (z_min, z_max), got {z_range}')
        if not 0 <= min_corners <= 8:
            raise SettingError(f'min_corners: expected 0 to 8, got {min_corners}')
        self._region = Region(self.eval_range, np.asarray(z_range, dtype=np.float64), min_corners)
        unknown = set(self.forecasting_classes) - set(self.class_names)
        if unknown:
            raise SettingError(
                f'forecasting_classes: {sorted(unknown)} are not among class_names {class_names}'
            )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what the metrics need of each sample of a batch.

        Args:
            data_batch: not used.
            data_samples: the samples, with the fields that the class names.

        Raises:
            SettingError: the data set's classes are others.
        """
        classes = tuple((self.dataset_meta or {}).get('classes', self.class_names))
        if classes != self.class_names:
            raise SettingError(
                f'class_names of the metric: expected the classes of the dataset, {classes}, got '
                f'{self.class_names}'
            )
        for sample in data_samples:
            if 'scenario' in sample and 'frame' in sample:
                name = f'{sample["scenario"]}, frame {sample["frame"]}'
            else:
                name = str(sample.get('sample_idx', f'number {len(self.results)}'))
            record = record_of(name, sample, len(self.class_names), self._region)
            if 'dair' in self.detection_protocols:
                region = replace(self._region, any_corner=True)
                touching, _, _ = detection_of(name, sample, len(self.class_names), region)
                record = replace(record, touching=touching)
            self.results.append(record)

    def compute_metrics(self, results: list[Record]) -> dict[str, float]:
        """Compute all metrics of the dataset.

        Args:
            results: one record a sample, in the order of the dataset.

        Returns:
            Percent for AP, MR and EPA, metres for ADE and FDE; see the class.
        """
        overlaps = find_overlaps([record.detection for record in results])
        matches = match_overlaps(overlaps, self.iou_thresholds, len(self.class_names))
        metrics = self._named('AP', global_sort_ap(matches))
        metrics |= self._named('AP_frame_order', frame_order_ap(matches))
        if 'coalign' in self.detection_protocols:
            metrics |= self._named('AP_coalign', global_sort_ap(matches))
        if 'dair' in self.detection_protocols:
            frames = [record.touching for record in results if record.touching is not None]
            touching = find_overlaps(frames)
            by_truth = match_truths(touching, self.iou_thresholds, len(self.class_names))
            metrics |= self._named('AP_dair', global_sort_ap(by_truth))
        for low, high in self.range_bins:
            within = match_overlaps(
                overlaps.within(low, high), self.iou_thresholds, len(self.class_names)
            )
            metrics |= self._named('AP', global_sort_ap(within), f'/{low:g}-{high:g}m')
        metrics |= self._headings([record.detection for record in results])
        sent = [size for record in results for size in record.message_bytes or ()]
        if any(record.message_bytes is not None for record in results):
            metrics['message_bytes'] = float(np.mean(sent)) if sent else 0.0
        return metrics | self._forecasting_metrics(results)

    def _headings(self, frames: list[DetectionFrame]) -> dict[str, float]:
        """How well each class's headings are told."""
        metrics = {}
        for label, class_name in enumerate(self.class_names):
            axis, turned = heading_errors(
                frames, label, self.protocol.match_radius, self.protocol.score_threshold
            )
            some = len(axis) > 0
            metrics[f'yaw_error/{class_name}'] = (
                float(np.degrees(np.median(axis))) if some else float('nan')
            )
            metrics[f'yaw_reversed/{class_name}'] = 100.0 * _mean(turned.astype(np.float64))
        return metrics

    def _named(self, kind: str, values: np.ndarray, suffix: str = '') -> dict[str, float]:
        """Average precisions (T, C) in percent under their names, and their means over classes."""
        named = {}
        for threshold, row in zip(self.iou_thresholds, 100.0 * values, strict=True):
            for class_name, value in zip(self.class_names, row, strict=True):
                named[f'{kind}@{threshold:g}/{class_name}{suffix}'] = float(value)
            named[f'm{kind}@{threshold:g}{suffix}'] = _mean(row)
        return named

    def _forecasting_metrics(self, results: list[Record]) -> dict[str, float]:
        """ADE, FDE, MR, EPA of the pooled classes, and of each; empty without forecasts."""
        forecasts = [(r.detection, r.forecast) for r in results if r.forecast is not None]
        if not forecasts:
            return {}
        if len(forecasts) < len(results):
            without = next(record.name for record in results if record.forecast is None)
            raise ValueError(
                f"sample {without}: pred_instances_3d has no 'trajectories', but other "
                'samples do; a model has to forecast in every sample or in none'
            )
        modes = {forecast.trajectories.shape[1] for _, forecast in forecasts}
        if len(modes) > 1:
            raise ValueError(f'samples differ in their number of modes: {sorted(modes)}')
        several = modes != {1}
        frames = self._of_classes(forecasts, self.forecasting_classes)
        metrics, best = self._evaluate(frames, several)
        if several:
            metrics |= dict(minADE=best.ade, minFDE=best.fde, Brier_minFDE=best.brier_fde)
        share = 100.0 / best.ground_truth if best.ground_truth else float('nan')
        metrics |= dict(
            EPA_hits=share * best.hits,
            EPA_misses=share * best.misses,
            EPA_not_found=share * (best.ground_truth - best.hits - best.misses),
            EPA_false_alarms=share * best.false_positives,
        )
        for class_name in self.forecasting_classes:
            own, _ = self._evaluate(self._of_classes(forecasts, [class_name]), several)
            metrics |= {f'{name}/{class_name}': value for name, value in own.items()}
        each = [metrics[f'EPA/{class_name}'] for class_name in self.forecasting_classes]
        return metrics | dict(mEPA=_mean(np.array(each)))

    def _evaluate(
        self, frames: list[ForecastFrame], several: bool
    ) -> tuple[dict[str, float], ForecastMetrics]:
        """The metrics of some frames, which forecast one mode or several, and the best mode's."""
        best = single = evaluate_forecasts(frames, self.protocol)
        if several:
            single = evaluate_forecasts(map(likeliest_mode, frames), self.protocol)
        metrics = dict(
            ADE=single.ade, FDE=single.fde, MR=100.0 * best.miss_rate, EPA=100.0 * best.epa
        )
        step = (self.dataset_meta or {}).get('step', _STEP)
        baselines = dict(stationary=standing_still)
        if all(frame.velocities is not None for frame in frames):
            baselines['constant_velocity'] = partial(constant_velocity, step=step)
        if all(frame.gt_velocities is not None for frame in frames):
            radius = self.protocol.match_radius
            baselines['true_velocity'] = partial(true_velocity, step=step, radius=radius)
        for name, forecast in baselines.items():
            found = evaluate_forecasts(map(forecast, frames), self.protocol)
            metrics |= {
                f'ADE_{name}': found.ade,
                f'FDE_{name}': found.fde,
                f'EPA_{name}': 100.0 * found.epa,
            }
        return metrics, best

    def _of_classes(
        self,
        forecasts: Sequence[tuple[DetectionFrame, ForecastFrame]],
        class_names: Sequence[str],
    ) -> list[ForecastFrame]:
        """The forecasts, reduced to some classes."""
        wanted = [self.class_names.index(class_name) for class_name in class_names]
        return [
            forecast.only(np.isin(found.labels, wanted), np.isin(found.gt_labels, wanted))
            for found, forecast in forecasts
        ]


def _mean(values: np.ndarray) -> float:
    """Mean of values (N,) that are no NaN; NaN of none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float('nan')
