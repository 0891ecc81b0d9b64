"""Hooks of the mmengine runner."""

from .conflict_plot import ConflictPlotHook
from .draw_samples import DrawSamplesHook
from .plain_checkpoint import PlainCheckpointHook
from .sync_statistics import SyncNormStatisticsHook
from .transfer_report import TransferReportHook

__all__ = [
    'ConflictPlotHook',
    'DrawSamplesHook',
    'PlainCheckpointHook',
    'SyncNormStatisticsHook',
    'TransferReportHook',
]
