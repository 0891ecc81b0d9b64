"""What surrounds training: hooks, and the way from a command line to a runner."""

from .hooks import PlainCheckpointHook, SyncNormStatisticsHook, TransferReportHook

__all__ = ['PlainCheckpointHook', 'SyncNormStatisticsHook', 'TransferReportHook']
