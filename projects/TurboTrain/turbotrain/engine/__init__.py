"""What surrounds training: hooks, and the way from a command line to a runner."""

from .. import patches  # noqa: F401 - before mmdet3d is imported
from ..errors import CheckpointError, UserError
from .checkpoint import checkpoints_by_age, load_weights, newest_checkpoint, read_checkpoint
from .freed_memory import give_back_freed_memory, keep_freed_memory
from .hooks import (
    LAST_VALIDATION,
    ConflictPlotHook,
    DurableCheckpointHook,
    ExactResumeHook,
    PlainCheckpointHook,
    SyncNormStatisticsHook,
    TrainedPartsHook,
    TransferReportHook,
)
from .parameter_groups import FewGroupsConstructor

__all__ = [
    'LAST_VALIDATION',
    'CheckpointError',
    'ConflictPlotHook',
    'DurableCheckpointHook',
    'ExactResumeHook',
    'FewGroupsConstructor',
    'PlainCheckpointHook',
    'SyncNormStatisticsHook',
    'TrainedPartsHook',
    'TransferReportHook',
    'UserError',
    'checkpoints_by_age',
    'give_back_freed_memory',
    'keep_freed_memory',
    'load_weights',
    'newest_checkpoint',
    'read_checkpoint',
]
