"""What surrounds training: hooks, and the way from a command line to a runner."""

from .checkpoint import newest_checkpoint, read_checkpoint
from .errors import CheckpointError, UserError
from .hooks import (
    ConflictPlotHook,
    DurableCheckpointHook,
    ExactResumeHook,
    PlainCheckpointHook,
    SyncNormStatisticsHook,
    TransferReportHook,
)

__all__ = [
    'CheckpointError',
    'ConflictPlotHook',
    'DurableCheckpointHook',
    'ExactResumeHook',
    'PlainCheckpointHook',
    'SyncNormStatisticsHook',
    'TransferReportHook',
    'UserError',
    'newest_checkpoint',
    'read_checkpoint',
]
