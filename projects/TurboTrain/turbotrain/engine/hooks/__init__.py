"""Hooks of the mmengine runner."""

from .conflict_plot import ConflictPlotHook
from .draw_samples import DrawSamplesHook
from .durable_checkpoint import DurableCheckpointHook
from .exact_resume import ExactResumeHook
from .missed_validation import LAST_VALIDATION, MissedValidationHook
from .numerical_faults import NumericalFaultHook
from .plain_checkpoint import PlainCheckpointHook
from .sync_statistics import SyncNormStatisticsHook
from .trained_parts import TrainedPartsHook
from .transfer_report import TransferReportHook

__all__ = [
    'LAST_VALIDATION',
    'ConflictPlotHook',
    'DrawSamplesHook',
    'DurableCheckpointHook',
    'ExactResumeHook',
    'MissedValidationHook',
    'NumericalFaultHook',
    'PlainCheckpointHook',
    'SyncNormStatisticsHook',
    'TrainedPartsHook',
    'TransferReportHook',
]
