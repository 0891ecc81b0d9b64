"""One set of batch norm statistics for all processes."""

from typing import Any

from mmengine.dist import all_reduce_params, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from ..bare import all_models

__all__ = ['SyncNormStatisticsHook']


@HOOKS.register_module()
class SyncNormStatisticsHook(Hook):
    """Average batch norm's running statistics over all processes, wherever a model is looked at.

    Each process gathers its own; without this all would validate with their own and one process's
    would be saved, and likewise those of the average that an ``EMAHook`` keeps. They are averaged
    in the last iteration of each epoch and of training, before it is saved, and for a validation on
    the way, after which each process goes on with its own: how often a run validates leaves
    training as it is. Checkpoints from the middle of an epoch are there to go on from and hold
    everyone's own (:class:`ExactResumeHook`). mmengine's ``SyncBuffersHook`` fails on batch norm's
    counter, an integer.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self) -> None:
        self._own: list[Tensor] | None = None

    def after_train_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Average at the end of an epoch or of training."""
        ends = self.is_last_train_iter(runner)
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            # Batches are counted from where a run goes on, iterations from the beginning.
            ends |= self.every_n_train_iters(runner, len(runner.train_dataloader))
        if ends:
            self._average(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Average where training ends before its time."""
        self._average(runner)

    def before_val(self, runner: Runner) -> None:
        """Average, and keep one's own."""
        self._own = [buffer.clone() for buffer in _statistics(runner)]
        self._average(runner)

    def after_val(self, runner: Runner) -> None:
        """Go on with one's own."""
        for buffer, own in zip(_statistics(runner), self._own or [], strict=True):
            buffer.copy_(own)
        self._own = None

    def _average(self, runner: Runner) -> None:
        all_reduce_params(_statistics(runner), op='mean')


def _statistics(runner: Runner) -> list[Tensor]:
    if get_world_size() == 1:
        return []
    norms = [m for one in all_models(runner) for m in one.modules() if isinstance(m, _NormBase)]
    found = [value for norm in norms for value in (norm.running_mean, norm.running_var)]
    return [value for value in found if value is not None]
