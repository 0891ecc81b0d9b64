"""Checkpoints of tensors and plain values only."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...errors import UserError
from ..bare import with_versions

__all__ = ['PlainCheckpointHook']

_PLAIN = {
    bool, int, float, complex, str, bytes, type(None), torch.Size, torch.dtype, torch.device,
}  # fmt: skip


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Keep out of checkpoints what ``torch.load(weights_only=True)`` refuses.

    mmengine puts the log's history there as objects of its own, with their methods, what metrics
    return, be it NumPy's, and schedules with their counters and functions. Since torch 2.6 such a
    file cannot be read without being allowed to run code, not even to resume from it. Here arrays
    and objects become numbers and lists on the way out, and the history is made objects again on
    the way in. Functions are left out: a resumed schedule has its own.

    To see how many GPUs a run had, mmengine runs ``meta.config`` of a checkpoint as Python when it
    resumes. Its own checkpoints have no such key; here none has.

    Raises:
        UserError: something else is in a checkpoint; it is not written.
    """

    priority = 'LOWEST'  # what other hooks put there is seen, too

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Objects to lists."""
        schedulers = checkpoint.get('param_schedulers', [])
        for several in schedulers.values() if isinstance(schedulers, dict) else [schedulers]:
            for i, state in enumerate(several):
                several[i] = {key: value for key, value in state.items() if not callable(value)}
        checkpoint.update(_plain(checkpoint))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Lists to objects; no text that would be run."""
        checkpoint.get('meta', {}).pop('config', None)
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for key, history in scalars.items():
            if isinstance(history, dict):
                values, counts = (
                    torch.as_tensor(history[name], dtype=torch.float64).cpu().numpy()
                    for name in ('values', 'counts')
                )
                scalars[key] = HistoryBuffer(values, counts)


def _plain(value: Any, *place: Any) -> Any:
    """A value of plain ones; ``place`` is the keys that lead to it.

    Raises:
        UserError: some of it cannot be made plain.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    elif isinstance(value, HistoryBuffer):
        # Tensors: lists of long trainings take seconds to read.
        names = zip(('values', 'counts'), value.data, strict=True)
        return {name: torch.tensor(numbers, dtype=torch.float64) for name, numbers in names}
    if type(value) in _PLAIN or isinstance(value, torch.Tensor):
        return value
    if isinstance(value, Mapping):
        items = {_plain(key, *place): _plain(own, *place, key) for key, own in value.items()}
        return with_versions(items, value) if type(value) is OrderedDict else items
    for kind in (list, tuple, set):
        if isinstance(value, kind):
            return kind(_plain(own, *place, i) for i, own in enumerate(value))
    name = f'{type(value).__module__}.{type(value).__qualname__}'
    raise UserError(
        f'checkpoint, {".".join(map(str, place))}: expected numbers, text, tensors or collections '
        f'of them, got a {name}, which could not be read again. Keep it out of what metrics '
        'return, of the message hub and of what hooks add'
    )
