"""Which weights of a checkpoint have been trained."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from ..bare import bare

__all__ = ['TrainedPartsHook', 'trained_names']

_KEY = 'trained'  # in the meta of checkpoints


def trained_names(checkpoint: dict) -> set[str] | None:
    """The parameters of a checkpoint that have been trained, or None where it does not say."""
    names = checkpoint.get('meta', {}).get(_KEY)
    return set(names) if isinstance(names, list) else None


@HOOKS.register_module()
class TrainedPartsHook(Hook):
    """Write into checkpoints which parameters have had a gradient.

    A pretrainer holds more than it trains: levels that nothing reads, a second encoder. Their
    weights are in the checkpoint as they were initialised, and only this record tells them from
    those that were learned. What was trained before the checkpoint that a run starts from counts.

    Nothing is written for runs with several optimisers.
    """

    priority = 'NORMAL'

    def __init__(self) -> None:
        self._trained: set[str] = set()
        self._waiting: dict[str, nn.Parameter] = {}
        self._handle: Any = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what was trained before, as far as the model takes it over."""
        own, given = _tensors(runner), checkpoint.get('state_dict', {})
        self._trained = {
            name
            for name in trained_names(checkpoint) or ()
            if name in own and name in given and own[name].shape == given[name].shape
        }

    def before_train(self, runner: Runner) -> None:
        """Watch the parameters that have had no gradient yet."""
        if isinstance(runner.optim_wrapper, OptimWrapperDict):
            return
        self._waiting = {
            name: value
            for name, value in _tensors(runner).items()
            if isinstance(value, nn.Parameter) and name not in self._trained
        }
        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(self._look)

    def after_train(self, runner: Runner) -> None:
        """Leave the optimiser as it was."""
        if self._handle is not None:
            self._handle.remove()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the record."""
        if self._handle is not None:
            checkpoint['meta'][_KEY] = sorted(self._trained)

    def _look(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        given = {name: p.grad for name, p in self._waiting.items() if p.grad is not None}
        if not given:
            return
        # Processes that average gradients give zeros to what none of them uses.
        used = torch.stack([gradient.any() for gradient in given.values()]).tolist()
        for name in [name for name, own in zip(given, used, strict=True) if own]:
            self._trained.add(name)
            del self._waiting[name]


def _tensors(runner: Runner) -> dict[str, torch.Tensor]:
    """The model's own tensors by the names of checkpoints, which a pretrainer chooses."""
    return bare(runner.model).state_dict(keep_vars=True)
