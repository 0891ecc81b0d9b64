"""One set of batch norm statistics for all processes."""

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

__all__ = ['SyncNormStatisticsHook']


@HOOKS.register_module()
class SyncNormStatisticsHook(Hook):
    """Average batch norm's running statistics over all processes when an epoch of training ends.

    Each process gathers its own; without this all would validate with their own and one process's
    would be saved. mmengine's ``SyncBuffersHook`` fails on batch norm's counter, an integer.
    """

    priority = 'ABOVE_NORMAL'

    def after_train_epoch(self, runner: Runner) -> None:
        """Average."""
        if get_world_size() == 1:
            return
        for buffer in runner.model.buffers():
            if torch.is_floating_point(buffer):
                all_reduce(buffer, op='mean')
