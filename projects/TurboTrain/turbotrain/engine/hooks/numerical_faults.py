"""Updates that would spoil the weights."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.nn.utils import clip_grad_value_

from ...balancing.faults import all_finite
from ...errors import NumericalError, SettingError
from ..bare import bare

__all__ = ['NumericalFaultHook']

_SAMPLE_KEYS = ('scenario', 'frame', 'sample_idx', 'lidar_path')
_COUNT = 'skipped_updates'  # key in the message hub, and so in checkpoints


@HOOKS.register_module()
class NumericalFaultHook(Hook):
    """Skip an update whose gradient is not finite, say why, and stop when it happens too often.

    A warning names the losses that are NaN or infinite, their tasks, or the tasks whose gradient
    is, and the samples of the update. Weights and the optimiser stay as they were, on all
    processes, and so do batch norm's statistics where the fault has reached them. In mixed
    precision a loss scaler skips updates that overflow and lowers its scale: that is said, and no
    fault as long as the losses are finite. Nor is an iteration without a backward pass, of a batch
    that has nothing to learn from.

    It guards runs with one optimiser; of an ``OptimWrapperDict`` it does nothing.

    Args:
        max_skipped: stop at the update after so many, counted over the whole run, resumed ones
            included. 50 is our choice.

    Raises:
        NumericalError: more updates than that had to be skipped.
    """

    priority = 'HIGH'

    def __init__(self, max_skipped: int = 50) -> None:
        if max_skipped < 0:
            raise SettingError(f'max_skipped: expected 0 or more, got {max_skipped}')
        self.max_skipped = max_skipped
        self._stepped = self._finite = False
        self._finite_when_clipped = True
        self._notes: list[str] = []
        self._samples: list[str] = []
        self._buffers: list[torch.Tensor] = []
        self._kept: list[torch.Tensor] = []

    def before_train(self, runner: Runner) -> None:
        """Look at gradients just before the optimiser uses them."""
        self._guards = not isinstance(runner.optim_wrapper, OptimWrapperDict)
        if self._guards:
            wrapper = runner.optim_wrapper
            self._hook = wrapper.optimizer.register_step_pre_hook(self._before_step)
            if wrapper.clip_grad_kwargs and wrapper.clip_func is clip_grad_value_:
                wrapper.clip_func = self._clip_values  # it makes finite what was not
        model = bare(runner.model)
        self._buffers = [b for b in model.buffers() if torch.is_floating_point(b)]
        self._kept = [buffer.clone() for buffer in self._buffers]

    def after_train(self, runner: Runner) -> None:
        """Leave the optimiser as it was."""
        if self._guards:
            self._hook.remove()
            if getattr(runner.optim_wrapper, 'clip_func', None) == self._clip_values:
                runner.optim_wrapper.clip_func = clip_grad_value_

    def _clip_values(self, parameters: list[torch.nn.Parameter], **kwargs: Any) -> None:
        self._finite_when_clipped = all_finite(parameters)
        clip_grad_value_(parameters, **kwargs)

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        self._stepped = True
        self._finite = self._finite_when_clipped and all_finite(parameters)
        if not self._finite:
            for parameter in parameters:  # an optimiser passes over what has no gradient
                parameter.grad = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the statistics."""
        self._stepped, self._finite_when_clipped = False, True
        self._passes = self._backward_passes(runner)
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            kept.copy_(buffer)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Say what happened, once the update that it belongs to is due.

        Raises:
            NumericalError: too many were skipped.
        """
        if not self._guards:
            return
        wrapper = runner.optim_wrapper
        bad = _not_finite(outputs or {})
        self._notes += [_describe(name, getattr(wrapper, 'tasks', {})) for name in bad]
        self._samples += _samples(data_batch)
        learned = self._stepped or self._backward_passes(runner) > self._passes
        due = learned and wrapper.should_update()
        skipped = due and not (self._stepped and self._finite)
        if bad or skipped:
            self._restore_statistics()
        if skipped:
            # Gradients are averaged over processes: either all of them are here or none is.
            self._report(runner)
        if due:
            self._notes, self._samples = [], []

    def _backward_passes(self, runner: Runner) -> int:
        return runner.optim_wrapper._inner_count if self._guards else 0

    def _report(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        everyone = all_gather_object((self._notes, self._samples))
        notes = sorted({note for own, _ in everyone for note in own})
        samples = '; '.join(
            f'process {rank}: {", ".join(own) or "unknown"}'
            for rank, (_, own) in enumerate(everyone)
        )
        tasks = getattr(wrapper, 'faulty_tasks', [])
        gradient = f'the gradient of {" and ".join(map(repr, tasks))}' if tasks else 'the gradient'
        if isinstance(wrapper, AmpOptimWrapper) and not notes:
            runner.logger.info(
                f'iteration {runner.iter + 1}: mixed precision overflows in {gradient}; the loss '
                'scaler skips the update and lowers its scale'
            )
            return
        what = ', '.join(notes) or f'{gradient} is not finite'
        count = runner.message_hub.runtime_info.get(_COUNT, 0) + 1
        runner.message_hub.update_info(_COUNT, count)
        text = f'iteration {runner.iter + 1}: {what}; samples of {samples}'
        runner.logger.warning(
            f'{text}. The update is skipped, the {count}. of at most {self.max_skipped}'
        )
        if count > self.max_skipped:
            raise NumericalError(
                f'{text}. This is update {count} that had to be skipped, {self.max_skipped} are '
                'allowed (default_hooks.numerical_faults.max_skipped). Look at the samples that '
                'the log names; a lower learning rate or clip_grad may help'
            )

    def _restore_statistics(self) -> None:
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            if not bool(buffer.isfinite().all()):
                buffer.copy_(kept)


def _not_finite(outputs: Mapping[str, Any]) -> list[str]:
    """Losses that are NaN or infinite; their sum only if none of them is."""
    losses = {n: torch.as_tensor(value) for n, value in outputs.items() if 'loss' in n}
    if not losses:
        return []
    # One question to the device, not one for each loss.
    finite = torch.stack([value.isfinite().all() for value in losses.values()]).tolist()
    bad = [name for name, good in zip(losses, finite, strict=True) if not good]
    return [name for name in bad if name != 'loss'] or bad


def _describe(loss: str, tasks: Mapping[str, Any]) -> str:
    owners = [task for task, names in tasks.items() if any(fnmatchcase(loss, n) for n in names)]
    return f'{loss} of task {owners[0]!r} is not finite' if owners else f'{loss} is not finite'


def _samples(batch: Any) -> list[str]:
    """What the batch's samples are called."""
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    found = []
    for sample in samples or []:
        info = getattr(sample, 'metainfo', {})
        found.append(' '.join(f'{key} {info[key]}' for key in _SAMPLE_KEYS if key in info))
    return [name for name in found if name]
