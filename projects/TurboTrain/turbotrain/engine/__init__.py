"""What surrounds training: hooks, and the way from a command line to a runner."""

from .hooks import PlainCheckpointHook, TransferReportHook

__all__ = ['PlainCheckpointHook', 'TransferReportHook']
