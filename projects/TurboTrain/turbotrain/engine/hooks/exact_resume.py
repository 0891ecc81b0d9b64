"""A run that was interrupted goes on as if it had not been."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, Sampler, SequentialSampler

from ...datasets import repeated_draws
from ...errors import SettingError, UserError
from ..bare import all_models, bare
from ..checkpoint import refuse_misfit
from ..process_state import random_state, restore_random_state
from ..resumed_settings import (
    differing_settings,
    follow_config,
    optimizer_kind,
    refuse_other_optimizer,
    step_schedulers,
)

__all__ = ['ExactResumeHook']

_STATE = 'processes'  # key in checkpoints


class _Remaining:
    """A sampler without the samples of an epoch that were trained on before."""

    def __init__(self, sampler: Sampler, done: int) -> None:
        self.sampler, self.done = sampler, done

    def __iter__(self) -> Iterator[int]:
        return islice(self.sampler, self.done, None)

    def __len__(self) -> int:
        return len(self.sampler)  # of the whole epoch: schedules count by it


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Put into checkpoints what else decides how training goes on, and take it from there.

    For each process that is the state of its random generators (Python, NumPy, torch, GPU) and its
    own batch norm statistics, which differ between processes within an epoch. A run that goes on in
    the middle of an epoch takes up the epoch's samples where it stopped: none is repeated and none
    is loaded in vain.

    Neither starting the data workers nor validating draws from training's random state, so that it
    does not matter how often a run does either.

    What the workers of a data set draw is their own: it is resumed exactly where it follows from
    the sample alone (``V2XPnPDataset``), or where there are no workers. A warning says where such
    draws repeat, for want of an ``EpochIndexSampler``.

    Where checkpoint and config say different things, a warning lists them and says which counts.

    Args:
        schedule: whose learning rates and optimiser settings a resumed run has: those of the
            ``'checkpoint'``, so that it ends as if it had not been interrupted, or those of the
            ``'config'``, at the step where it stands. The optimiser's moments are the checkpoint's.

    Raises:
        UserError: the run stands in the middle of an epoch and its training loop, number of
            processes, batch size or sampler's seed is another than it was, or its samplers may give
            another order than they did; processes go on from different checkpoints; the optimiser
            is of another model or kind than the checkpoint's; or the config's schedule cannot be
            followed.
    """

    priority = 'VERY_LOW'

    def __init__(self, schedule: Literal['checkpoint', 'config'] = 'checkpoint') -> None:
        if schedule not in ('checkpoint', 'config'):
            raise SettingError(f"schedule: expected 'checkpoint' or 'config', got {schedule!r}")
        self.schedule = schedule
        self._gathered: list[dict] | None = None
        self._resumed: dict | None = None
        self._before_val: dict | None = None
        self._sampler: Sampler | None = None

    def gather_for_checkpoint(self, runner: Runner) -> None:
        """All processes tell theirs; called by ``DurableCheckpointHook``."""
        self._gathered = all_gather_object(self._own_state(runner))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add it to what can be resumed: the best weights so far cannot."""
        if 'optimizer' in checkpoint:
            states = self._gathered or [self._own_state(runner)]
            checkpoint[_STATE] = dict(
                states=states,
                batch_size=_batch_size(runner),
                sampler_seed=getattr(_sampler(runner), 'seed', None),
                optimizer=optimizer_kind(runner),
                optim_wrapper=type(runner.optim_wrapper).__name__,
            )
        self._gathered = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take it out, and settle whose settings count."""
        self._resumed = checkpoint.pop(_STATE, None)
        if runner._resume:
            self._settle(runner, checkpoint, self._resumed or {})

    def _settle(self, runner: Runner, checkpoint: dict, resumed: dict) -> None:
        refuse_misfit(str(runner._load_from), checkpoint, bare(runner.model))
        refuse_other_optimizer(runner, checkpoint, resumed.get('optimizer'))
        kept, own = differing_settings(runner, checkpoint), []
        if self.schedule == 'config':
            follow_config(runner, checkpoint)
            kept, own = own, kept
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        length = 'max_epochs' if by_epoch else 'max_iters'
        info = checkpoint['message_hub']['runtime_info']
        pairs = {
            length: (info.get(length), getattr(runner, length)),
            'batch_size': (resumed.get('batch_size'), _batch_size(runner)),
            'optimizer.type': (resumed.get('optimizer'), optimizer_kind(runner)),
            'optim_wrapper.type': (
                resumed.get('optim_wrapper'),
                type(runner.optim_wrapper).__name__,
            ),
        }
        for name, (theirs, ours) in pairs.items():
            if theirs not in (None, ours):
                own.append(f'{name} {theirs} (config: {ours})')
        forgotten = getattr(runner.optim_wrapper, 'forgotten_state', None)
        if forgotten is not None:
            own += [f'the state of {name}' for name in forgotten(checkpoint['optimizer'])]
        seed, ours = checkpoint['meta'].get('seed'), runner._randomness_cfg.get('seed')
        if ours is not None and seed not in (None, ours):
            kept.append(f'randomness.seed {seed} (config: {ours}, which the data follow)')
        if ours is None and resumed.get('sampler_seed') is not None:
            _sampler(runner).seed = resumed['sampler_seed']  # its own was drawn anew
        if kept or own:
            runner.logger.warning(
                'the checkpoint has other settings than the config. The checkpoint counts for: '
                f'{", ".join(kept) or "none"}. The config counts for: {", ".join(own) or "none"}. '
                '--resume-schedule chooses whose schedule and optimiser settings count '
                f'(now: {self.schedule})'
            )

    def before_train(self, runner: Runner) -> None:
        """Find the place in the epoch, and this process's statistics."""
        # The seeds that workers start with are drawn from it, not from training's random state.
        runner.train_dataloader.generator = torch.Generator().manual_seed(runner.seed or 0)
        repeats = repeated_draws(runner.train_dataloader, runner.max_iters)
        if repeats is not None:
            runner.logger.warning(repeats)
        resumed = self._resumed
        places = all_gather_object((runner.epoch, runner.iter))
        if len(set(places)) > 1:
            raise UserError(f'--resume: processes go on from (epoch, iteration) {places}')
        if runner._resume and self.schedule == 'config':
            step_schedulers(runner)
        if runner.iter == 0 or resumed is None:
            self._resumed = None
            return
        states, done = resumed['states'], self._done(runner)
        before = len(states), resumed['batch_size']
        now = get_world_size(), _batch_size(runner)
        if done and before != now:
            raise UserError(
                '--resume: the checkpoint stands in the middle of an epoch, of {} processes with '
                'batches of {}; there are {} with {} now. Go on alike'.format(*before, *now)
            )
        if len(states) != get_world_size():
            runner.logger.warning(
                f'the checkpoint is of {len(states)} processes, there are {get_world_size()}: '
                'random states begin anew'
            )
            self._resumed = None
        elif len(states) > 1:
            buffers = dict(_statistics(runner))
            for name, value in states[get_rank()]['statistics'].items():
                if name in buffers:  # the config may have another EMAHook
                    buffers[name].copy_(value)
        if done:
            batches = runner.train_dataloader.batch_sampler
            _refuse_other_order(batches, resumed.get('sampler_seed'))
            self._sampler = batches.sampler
            batches.sampler = _Remaining(self._sampler, done * batches.batch_size)
            runner.logger.info(
                f'epoch {runner.epoch + 1} goes on after {done} of its '
                f'{len(runner.train_dataloader)} batches; its log counts from there'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Restore the random state just before the first sample is loaded."""
        if self._resumed is not None:
            restore_random_state(self._resumed['states'][get_rank()]['random'])
            self._resumed = None

    def after_train_epoch(self, runner: Runner) -> None:
        """The next epoch is a whole one."""
        if self._sampler is not None:
            runner.train_dataloader.batch_sampler.sampler = self._sampler
            self._sampler = None

    def before_val(self, runner: Runner) -> None:
        """Keep training's random state out of validation."""
        self._before_val = random_state()

    def after_val(self, runner: Runner) -> None:
        """Go on with it."""
        restore_random_state(self._before_val)
        self._before_val = None

    def _own_state(self, runner: Runner) -> dict:
        statistics = {}
        if get_world_size() > 1:
            statistics = {name: buffer.cpu() for name, buffer in _statistics(runner)}
        if self._resumed is not None:  # saved once more before training goes on
            random = self._resumed['states'][get_rank()]['random']
        else:
            random = self._before_val or random_state()
        return dict(random=random, statistics=statistics)

    def _done(self, runner: Runner) -> int:
        """Batches of the epoch under way that were trained on."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return 0
        length = len(runner.train_dataloader)
        done = runner.iter - runner.epoch * length
        if not 0 <= done <= length:
            raise UserError(
                f'--resume: after iteration {runner.iter} in epoch {runner.epoch + 1}; epochs had '
                f'another length than now ({length}). Go on with as many samples, processes and '
                'samples a batch'
            )
        return done


def _batch_size(runner: Runner) -> int | None:
    return getattr(runner.train_dataloader.batch_sampler, 'batch_size', None)


def _sampler(runner: Runner) -> Any:
    return getattr(runner.train_dataloader.batch_sampler, 'sampler', None)


def _refuse_other_order(batches: Any, seed: int | None) -> None:
    """Stop where an epoch's first samples may not be those that were trained on.

    Raises:
        UserError: the batch sampler puts samples together by itself, the sampler is not known to
            repeat its order, or its seed is another than the checkpoint's.
    """
    sampler = getattr(batches, 'sampler', None)
    repeats = hasattr(sampler, 'set_epoch') or isinstance(sampler, SequentialSampler)
    if type(batches) is not BatchSampler or not repeats:
        raise UserError(
            f'--resume: the checkpoint stands in the middle of an epoch, and {_kind(batches)} with '
            f'{_kind(sampler)} may give another order of samples now: some would be repeated, '
            'others left out. Go on from a checkpoint at the end of an epoch'
        )
    own = getattr(sampler, 'seed', None)
    if seed not in (None, own):
        raise UserError(
            '--resume: the checkpoint stands in the middle of an epoch, whose order '
            f'{_kind(sampler)} drew with seed {seed}; it has {own} now. Go on alike, or from the '
            'end of an epoch'
        )


def _kind(sampler: Any) -> str:
    return 'no sampler' if sampler is None else type(sampler).__name__


def _statistics(runner: Runner) -> Iterator[tuple[str, torch.Tensor]]:
    own, *averages = all_models(runner)
    yield from own.named_buffers()
    for i, average in enumerate(averages):
        yield from average.named_buffers(f'average {i}')
