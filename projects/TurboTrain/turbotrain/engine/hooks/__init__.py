"""Hooks of the mmengine runner."""

from .plain_checkpoint import PlainCheckpointHook
from .transfer_report import TransferReportHook

__all__ = ['PlainCheckpointHook', 'TransferReportHook']
