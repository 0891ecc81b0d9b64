"""Settings of a resumed run: where its checkpoint and its config differ, and which of them counts.

mmengine puts the checkpoint's schedulers and optimiser settings over the config's without a word.
All functions here want one optimiser; of a dictionary of them nothing is compared.
"""

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.optim import OptimWrapperDict
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..errors import UserError

__all__ = [
    'differing_settings',
    'follow_config',
    'optimizer_kind',
    'refuse_other_optimizer',
    'step_schedulers',
]

# Arguments of schedulers that say where they stand, or what they print.
_NO_SETTINGS = {'last_step', 'verbose'}


def differing_settings(runner: Runner, checkpoint: dict) -> list[str]:
    """The schedule's and the optimiser's settings of which the config says another value.

    Call it when the runner has built them from the config, before it loads the checkpoint's state.

    Returns:
        Each as ``name 0.1 (config: 0.2)``.
    """
    found = []
    own, given = runner.param_schedulers, checkpoint.get('param_schedulers')
    if isinstance(own, list) and isinstance(given, list):
        if len(own) != len(given):
            found.append(f'number of param_scheduler {len(given)} (config: {len(own)})')
        for i, (scheduler, state) in enumerate(zip(own, given, strict=False)):
            values = scheduler.state_dict()
            names = [name for name in _arguments(scheduler) if name in values or name in state]
            found += _differences(f'param_scheduler[{i}].', state, values, names)
    for group, theirs in _groups(runner, checkpoint):
        group, theirs = _as_begun(group), _as_begun(theirs)
        # What is scheduled differs as training goes on; what it began with is kept beside it.
        names = [key for key in group.keys() & theirs.keys() if f'initial_{key}' not in group]
        found += _differences('optimizer.', theirs, group, sorted({*names} - {'params'}))
    return list(dict.fromkeys(found))  # groups mostly differ alike


def refuse_other_optimizer(runner: Runner, checkpoint: dict, kind: str | None) -> None:
    """Stop where the checkpoint's optimiser trained other parameters, or is of another kind.

    Args:
        runner: the runner, its optimiser built from the config.
        checkpoint: the checkpoint.
        kind: what the checkpoint's optimiser was, if it is known.

    Raises:
        UserError: one of the two, or one of them has several optimisers.
    """
    several = isinstance(runner.optim_wrapper, OptimWrapperDict)
    if several == ('param_groups' in checkpoint['optimizer']):
        has, wants = ('one', 'several') if several else ('several', 'one')
        raise UserError(
            f'--resume: optim_wrapper: the checkpoint has {has}, the config {wants}. Name a '
            'checkpoint of this config; load_from takes over weights alone'
        )
    if several:
        return
    theirs = checkpoint['optimizer']['param_groups']
    ours = runner.optim_wrapper.optimizer.param_groups
    if _sizes(theirs) != _sizes(ours):
        alike = sum(_sizes(theirs)) == sum(_sizes(ours))
        other = 'optim_wrapper.constructor or paramwise_cfg' if alike else 'model'
        raise UserError(
            f'--resume: the checkpoint has an optimiser of {_counted(theirs)}, the model wants one '
            f'of {_counted(ours)}: it is a checkpoint of another {other}. Name one of this '
            'config; load_from takes over weights alone'
        )
    own = optimizer_kind(runner)
    lacking = {key for a, b in zip(ours, theirs, strict=True) for key in a.keys() - b.keys()}
    lacking = sorted(key for key in lacking if not key.startswith('initial_'))
    if kind is not None and kind != own and lacking:
        raise UserError(
            f'--resume: the checkpoint is of optimiser {kind}, the config has {own}, whose '
            f'settings {lacking} it lacks. Go on with {kind}, or name the checkpoint by load_from, '
            'which takes over weights alone'
        )


def optimizer_kind(runner: Runner) -> str:
    """What the runner's optimiser is, as configs call it."""
    return type(getattr(runner.optim_wrapper, 'optimizer', None)).__name__


def follow_config(runner: Runner, checkpoint: dict) -> None:
    """Have the runner load nothing of the schedule and the optimiser's settings.

    Its moments are loaded all the same. :func:`step_schedulers` has to follow.

    Raises:
        UserError: there are several optimisers, or a scheduler that listens to validation, whose
            past cannot be made up for.
    """
    schedulers = runner.param_schedulers or []
    if isinstance(runner.optim_wrapper, OptimWrapperDict) or not isinstance(schedulers, list):
        raise UserError('--resume-schedule config wants one optimiser; resume without it')
    listening = [type(s).__name__ for s in schedulers if getattr(s, 'need_val_args', False)]
    if listening:
        raise UserError(
            f'--resume-schedule config: {listening[0]} follows the results of validation, which '
            'a resumed run does not know; resume without it'
        )
    checkpoint.pop('param_schedulers', None)
    for group, theirs in _groups(runner, checkpoint):
        theirs.update({key: value for key, value in group.items() if key != 'params'})


def step_schedulers(runner: Runner) -> None:
    """Bring schedulers that are at their beginning to where the runner is, step by step."""
    epochs = runner.epoch if isinstance(runner.train_loop, EpochBasedTrainLoop) else 0
    length, done = len(runner.train_dataloader), 0
    with warnings.catch_warnings():
        # They take steps without an optimiser's for a mistake.
        warnings.filterwarnings('ignore', message='Detected call of `scheduler.step')
        for iteration in range(1, runner.iter + 1):
            _step(runner.param_schedulers, by_epoch=False)
            if iteration % length == 0 and done < epochs:
                _step(runner.param_schedulers, by_epoch=True)
                done += 1
        for _ in range(done, epochs):  # epochs were shorter once
            _step(runner.param_schedulers, by_epoch=True)


def _step(schedulers: list[_ParamScheduler] | None, by_epoch: bool) -> None:
    for scheduler in schedulers or []:
        if scheduler.by_epoch == by_epoch:
            scheduler.step()


def _groups(runner: Runner, checkpoint: dict) -> list[tuple[dict, dict]]:
    """The optimiser's groups of parameters, and the checkpoint's."""
    if isinstance(runner.optim_wrapper, OptimWrapperDict):
        return []
    return list(zip(runner.optim_wrapper.param_groups, _groups_of(checkpoint), strict=False))


def _as_begun(group: dict) -> dict:
    """With the betas that it began with: a momentum schedule changes the first of them."""
    if {'initial_momentum', 'betas'} <= group.keys():
        return group | dict(betas=(group['initial_momentum'], *group['betas'][1:]))
    return group


def _groups_of(checkpoint: dict) -> list[dict]:
    state = checkpoint['optimizer']
    # With several groups mmengine keeps one more, to log what the others are multiples of.
    return state['param_groups'] + [state[key] for key in ('base_param_settings',) if key in state]


def _sizes(groups: list[dict]) -> list[int]:
    return [len(group['params']) for group in groups]


def _counted(groups: list[dict]) -> str:
    return f'{sum(_sizes(groups))} parameters in {len(groups)} groups'


def _arguments(scheduler: _ParamScheduler) -> list[str]:
    """Names of the settings of a scheduler, its bases' included."""
    kinds = reversed(type(scheduler).__mro__[:-1])
    names = [name for kind in kinds for name in inspect.signature(kind).parameters]
    return [name for name in dict.fromkeys(names) if name not in _NO_SETTINGS]


def _differences(place: str, given: dict, own: dict, names: list[str]) -> Iterator[str]:
    for name in names:
        theirs, ours = (_plain(values.get(name)) for values in (given, own))
        if theirs != ours:
            yield f'{place}{name.removeprefix("initial_")} {theirs} (config: {ours})'


def _plain(value: Any) -> Any:
    """Something that can be compared: checkpoints may hold lists for tuples, GPUs tensors."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value
