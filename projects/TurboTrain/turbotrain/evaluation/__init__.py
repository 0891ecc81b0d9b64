"""Metrics: average precision, forecasting, and the mmengine metric that reports both."""

from .average_precision import (
    DetectionFrame,
    Matches,
    Overlaps,
    find_overlaps,
    frame_order_ap,
    global_sort_ap,
    global_sort_curves,
    match_detections,
    match_overlaps,
    match_truths,
)
from .baselines import constant_velocity, standing_still, true_velocity
from .center_matching import match_centers, match_greedily
from .cooperative_metric import CooperativeMetric
from .forecast_protocols import PROTOCOLS, ForecastProtocol
from .forecasting import (
    ForecastFrame,
    ForecastMetrics,
    brier_final_errors,
    displacement_errors,
    evaluate_forecasts,
    final_times,
    likeliest_mode,
    worst_errors,
)
from .json_metrics import json_metrics
from .orientation import heading_errors
from .precision_recall import average_precision, precision_recall
from .predictions import (
    Forecasts,
    PredictionFileError,
    PredictionWriter,
    read_forecasts,
    read_predictions,
)
from .rotated_iou import paired_iou

__all__ = [
    'PROTOCOLS',
    'CooperativeMetric',
    'DetectionFrame',
    'ForecastFrame',
    'ForecastMetrics',
    'ForecastProtocol',
    'Forecasts',
    'Matches',
    'Overlaps',
    'PredictionFileError',
    'PredictionWriter',
    'average_precision',
    'brier_final_errors',
    'constant_velocity',
    'displacement_errors',
    'evaluate_forecasts',
    'final_times',
    'find_overlaps',
    'frame_order_ap',
    'global_sort_ap',
    'global_sort_curves',
    'heading_errors',
    'json_metrics',
    'likeliest_mode',
    'match_centers',
    'match_greedily',
    'match_detections',
    'match_overlaps',
    'match_truths',
    'paired_iou',
    'precision_recall',
    'read_forecasts',
    'read_predictions',
    'standing_still',
    'true_velocity',
    'worst_errors',
]
