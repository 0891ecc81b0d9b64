"""Metrics: average precision, forecasting, and the mmengine metric that reports both."""

from .average_precision import (
    DetectionFrame,
    Matches,
    average_precision,
    frame_order_ap,
    global_sort_ap,
    match_detections,
    paired_iou,
)
from .cooperative_metric import CooperativeMetric
from .forecasting import (
    ForecastFrame,
    ForecastMetrics,
    brier_final_errors,
    displacement_errors,
    evaluate_forecasts,
    likeliest_mode,
    match_centers,
    standing_still,
)

__all__ = [
    'CooperativeMetric',
    'DetectionFrame',
    'ForecastFrame',
    'ForecastMetrics',
    'Matches',
    'average_precision',
    'brier_final_errors',
    'displacement_errors',
    'evaluate_forecasts',
    'frame_order_ap',
    'global_sort_ap',
    'likeliest_mode',
    'match_centers',
    'match_detections',
    'paired_iou',
    'standing_still',
]
