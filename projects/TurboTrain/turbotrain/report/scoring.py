"""Precision-recall curves and what EPA is made of, from saved predictions."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.registry import DATASETS, METRICS
from mmengine.config import Config

from ..datasets import TruthIndex
from ..engine.dataset_config import dataset_config
from ..errors import UserError
from ..evaluation import (
    CooperativeMetric,
    PredictionFileError,
    find_overlaps,
    global_sort_curves,
    match_overlaps,
    read_forecasts,
    read_predictions,
)

__all__ = [
    'Missing',
    'Scores',
    'open_dataset',
    'open_metric',
    'open_truth',
    'read_all',
    'score',
]

_SHARES = ('hits', 'misses', 'not_found', 'false_alarms')
_POOLED = 'all classes'


class Missing(Exception):
    """Why a part of the report cannot be made from what there is."""


@dataclass(frozen=True)
class Scores:
    """What saved predictions are worth.

    Attributes:
        metrics: as ``CooperativeMetric`` names them.
        curves: class -> IoU threshold -> (H,) recall and (H,) precision, in percent.
        epa: class, or ``all classes`` -> ``EPA`` and the shares that it is made of, in percent;
            empty without forecasts.
        false_alarm_weight: what a false alarm costs in EPA.
        count: number of samples.
    """

    metrics: dict[str, float]
    curves: dict[str, dict[float, tuple[np.ndarray, np.ndarray]]]
    epa: dict[str, dict[str, float]]
    false_alarm_weight: float
    count: int


def open_dataset(
    cfg: Config, infos: Path | None, keep: Callable[[dict], bool], **changes: Any
) -> Any:
    """The data set that predictions are of.

    Args:
        cfg: of the test.
        infos: info file to take instead of the config's.
        keep: which transforms of the pipeline to keep.
        changes: of the data set's settings.

    Raises:
        Missing: the config tests no V2XPnPDataset, or its files aren't there.
    """
    own = copy.deepcopy(dict((cfg.get('test_dataloader') or {}).get('dataset') or {})) | changes
    if own.get('type') != 'V2XPnPDataset':
        raise Missing(f'its config tests {own.get("type", "nothing")}, not one V2XPnPDataset')
    if infos is not None:
        own |= dict(data_root=str(infos.parent), ann_file=infos.name)
    if 'ann_file' not in own:
        raise Missing('it has no config that names an info file; name one with --infos')
    path = Path(own['data_root'], own['ann_file'])
    if not own.get('backend_args') and not path.is_file():
        raise Missing(f'there is no info file {path}; name one with --infos')
    own['pipeline'] = [transform for transform in own['pipeline'] if keep(transform)]
    return DATASETS.build(own)


def open_metric(cfg: Config, metainfo: Mapping[str, Any], **changes: Any) -> CooperativeMetric:
    """The metric of the test, for a data set of such meta information, with some changes."""
    evaluators = cfg.get('test_evaluator') or []
    if isinstance(evaluators, Mapping):
        evaluators = [evaluators]
    own = dict(type='CooperativeMetric')
    own |= next((dict(e) for e in evaluators if e['type'] == own['type']), {})
    metric = METRICS.build(own | dict(class_names=metainfo['classes']) | changes)
    metric.dataset_meta = metainfo
    return metric


def read_all(path: Path, class_names: tuple[str, ...]) -> list[dict]:
    """All predictions of a file.

    Raises:
        UserError: the file is damaged or empty.
    """
    try:
        found = list(read_predictions(path, class_names))
    except PredictionFileError as error:
        raise UserError(error) from None
    if not found:
        raise UserError(f'{path} holds no predictions')
    return found


def open_truth(path: Path, cfg: Config, infos: Path | None = None) -> TruthIndex:
    """What a file of predictions is compared with.

    Args:
        path: the file. Its first line says at which times it forecasts.
        cfg: the config of the test.
        infos: info file to take instead of the config's.

    Raises:
        Missing: there is nothing to compare with.
        UserError: the file is damaged.
    """
    try:
        forecasts = read_forecasts(path)
    except PredictionFileError as error:
        raise UserError(error) from None
    times = dict(num_history=0, num_future=0)
    if forecasts is not None:
        # One past position, for velocities.
        times = dict(num_history=1, num_future=forecasts.steps, step=forecasts.step)
    dataset = open_dataset(
        cfg,
        infos,
        # Nothing but the ranges decides which objects count; clouds needn't even be there.
        keep=lambda transform: transform['type'] == 'CooperativeRangeFilter',
        ego='every',
        drop_corridors=False,
        **times,
    )
    return TruthIndex(dataset)


def score(path: Path, cfg: Config | None, infos: Path | None) -> Scores:
    """Score a file of predictions by the metric of its test.

    Args:
        path: the file.
        cfg: the config of the test; None for that of the dataset that the infos are of.
        infos: info file to take instead of the config's.

    Raises:
        Missing: there is nothing to compare with.
        UserError: the file is damaged.
    """
    if cfg is None and infos is None:
        raise Missing('it has no config that names an info file; name one with --infos')
    cfg = cfg or dataset_config(infos)
    truth = open_truth(path, cfg, infos)
    metainfo = truth.dataset.metainfo
    class_names = metainfo['classes']
    metric = open_metric(cfg, metainfo)
    for sample in read_all(path, class_names):
        metric.process(None, [sample | dict(gt_instances_3d=truth.of(sample))])
    metrics = metric.compute_metrics(metric.results)
    epa = {}
    if 'EPA_hits' in metrics:
        epa[_POOLED] = metrics
        for name in metric.forecasting_classes:
            own = open_metric(cfg, metainfo, forecasting_classes=[name])
            epa[name] = own.compute_metrics(metric.results)
    return Scores(
        metrics=metrics,
        curves=_curves(metric),
        epa={name: shares_of(own) for name, own in epa.items()},
        false_alarm_weight=metric.protocol.false_positive_weight,
        count=len(metric.results),
    )


def shares_of(metrics: Mapping[str, float]) -> dict[str, float]:
    """EPA and the shares that it is made of."""
    return dict(EPA=metrics['EPA']) | {name: metrics[f'EPA_{name}'] for name in _SHARES}


def _curves(metric: CooperativeMetric) -> dict[str, dict[float, tuple[np.ndarray, np.ndarray]]]:
    overlaps = find_overlaps([record.detection for record in metric.results])
    matches = match_overlaps(overlaps, metric.iou_thresholds, len(metric.class_names))
    found = global_sort_curves(matches)
    return {
        name: {
            threshold: (100.0 * row[c][0], 100.0 * row[c][1])
            for threshold, row in zip(metric.iou_thresholds, found, strict=True)
        }
        for c, name in enumerate(metric.class_names)
        if matches.num_ground_truth[c]
    }
