"""Checkpoints of tensors and plain values only."""

from collections import Counter

import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS
from mmengine.runner import Runner

__all__ = ['PlainCheckpointHook']


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Keep out of checkpoints what ``torch.load(weights_only=True)`` refuses.

    mmengine puts the log's history there as objects of its own, with their methods, NumPy's scalars
    and schedules' counters. Since torch 2.6 such a file cannot be read without being allowed to run
    code, not even to resume from it. Here they become numbers on the way out, and the history is
    made objects again on the way in.

    To see how many GPUs a run had, mmengine runs ``meta.config`` of a checkpoint as Python when it
    resumes. Its own checkpoints have no such key; here none has.
    """

    priority = 'VERY_LOW'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Objects to lists."""
        scalars = checkpoint['message_hub']['log_scalars']
        for key, buffer in scalars.items():
            scalars[key] = dict(zip(('values', 'counts'), map(_floats, buffer.data), strict=True))
        info = checkpoint['message_hub']['runtime_info']
        for key, value in info.items():
            if isinstance(value, np.generic):
                info[key] = value.item()
        schedulers = checkpoint.get('param_schedulers', [])
        for several in schedulers.values() if isinstance(schedulers, dict) else [schedulers]:
            for state in several:
                # MultiStepLR's, which torch reads since 2.2.
                state.update({k: dict(v) for k, v in state.items() if isinstance(v, Counter)})

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Lists to objects; no text that would be run."""
        checkpoint.get('meta', {}).pop('config', None)
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for key, history in scalars.items():
            if isinstance(history, dict):
                scalars[key] = HistoryBuffer(history['values'], history['counts'])


def _floats(array: object) -> list[float]:
    return [float(value) for value in array]
