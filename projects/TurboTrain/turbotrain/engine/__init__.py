"""What surrounds training: hooks, and the way from a command line to a runner."""

from .hooks import (
    ConflictPlotHook,
    PlainCheckpointHook,
    SyncNormStatisticsHook,
    TransferReportHook,
)

__all__ = [
    'ConflictPlotHook',
    'PlainCheckpointHook',
    'SyncNormStatisticsHook',
    'TransferReportHook',
]
