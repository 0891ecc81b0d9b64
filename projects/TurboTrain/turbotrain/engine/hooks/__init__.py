"""Hooks of the mmengine runner."""

from .plain_checkpoint import PlainCheckpointHook
from .sync_statistics import SyncNormStatisticsHook
from .transfer_report import TransferReportHook

__all__ = ['PlainCheckpointHook', 'SyncNormStatisticsHook', 'TransferReportHook']
