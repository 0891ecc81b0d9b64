"""mmengine optimiser wrappers that keep tasks from undoing each other's progress."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from .aggregation import AGGREGATORS
from .schedule import SCHEDULES
from .task_gradients import TaskGradients, task_losses

__all__ = ['AmpConflictSuppressingOptimWrapper', 'ConflictSuppressingOptimWrapper']


@OPTIM_WRAPPERS.register_module()
class ConflictSuppressingOptimWrapper(OptimWrapper):
    """TurboTrain's hybrid optimisation: free gradient steps and conflict-suppressing ones.

    A free step is mmengine's own: one backward pass of the summed losses. A suppressing step takes
    one gradient per task, averages them over all processes, and aggregates them on the parameters
    that several tasks use; parameters of one task alone get their plain gradient. It works with any
    model that returns a dictionary of losses, and with the replicas of
    DistributedDataParallel, which stay equal since all aggregate the same numbers.

    Scalars ``train/task_cosine`` (the lowest cosine between two tasks' gradients) and
    ``train/task_conflict`` (1 if it is below 0) go to the message hub at suppressing steps.

    Source: TurboTrain (Zhou et al., ICCV 2025); schedule and projection are not public, see
    :class:`PeriodicSchedule` and :class:`PCGrad`.

    Args:
        tasks: task name -> names of its losses, with ``*`` and ``?`` as in file names.
        aggregator: config of an aggregator.
        schedule: config of a schedule.

    Example:
        >>> optim_wrapper = dict(
        ...     type='ConflictSuppressingOptimWrapper',
        ...     optimizer=dict(type='Adam', lr=2e-3),
        ...     tasks=dict(detection=['loss_cls', 'loss_bbox', 'loss_dir'],
        ...                prediction=['loss_trajectory']))
    """

    def __init__(
        self,
        *,
        tasks: Mapping[str, Sequence[str]],
        aggregator: dict | None = None,
        schedule: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(tasks) < 2:
            raise ValueError(f'conflicts need at least two tasks, got {list(tasks)}')
        self.tasks = {task: tuple(patterns) for task, patterns in tasks.items()}
        self.aggregator = AGGREGATORS.build(aggregator or dict(type='PCGrad'))
        self.schedule = SCHEDULES.build(schedule or dict(type='PeriodicSchedule'))
        self._losses: dict[str, Tensor] | None = None
        self._gradients: TaskGradients | None = None

    @property
    def suppresses(self) -> bool:
        """Whether the parameter update under way suppresses conflicts."""
        return self.schedule.suppresses(self._inner_count // self._accumulative_counts)

    def should_sync(self) -> bool:
        """Whether DistributedDataParallel is to average gradients in its backward pass."""
        # A suppressing step averages the task gradients itself, before they are mixed.
        return not self.suppresses and super().should_sync()

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Mmengine's context; on the way it takes note of the model's losses."""
        module = model.module if is_model_wrapper(model) else model
        hook = module.register_forward_hook(self._note_losses)
        try:
            with super().optim_context(model):
                yield
        finally:
            hook.remove()

    def _note_losses(self, module: nn.Module, inputs: tuple, output: object) -> None:
        if not isinstance(output, Mapping):
            raise TypeError(
                f'{type(module).__name__} returned {type(output).__name__}; '
                'conflict suppression needs a dictionary of losses'
            )
        self._losses = task_losses(output, self.tasks)

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Backward pass of a free or of a suppressing step; counts it."""
        losses, self._losses = self._losses, None
        if not self.suppresses:
            super().backward(loss, **kwargs)
            return
        if losses is None:
            raise RuntimeError(
                'the forward pass must run inside optim_context(model), as train_step does, for '
                'the optimiser wrapper to see the losses of the tasks'
            )
        if self._gradients is None:
            parameters = [
                p for group in self.param_groups for p in group['params'] if p.requires_grad
            ]
            self._gradients = TaskGradients(parameters, len(self.tasks))
        scaled = {task: self._scaled(self.scale_loss(value)) for task, value in losses.items()}
        self._gradients.add([scaled.get(task) for task in self.tasks])
        self._inner_count += 1
        if self.should_update():
            self._aggregate()

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss

    def _aggregate(self) -> None:
        """Make one gradient of the task gradients."""
        gradients, self._gradients = self._gradients, None
        gradients.reduce()
        gram = gradients.gram()
        gradients.write(self.aggregator(gram))
        norms = gram.diagonal().sqrt()
        cosines = (gram / (norms[:, None] * norms).clamp(min=1e-30)).fill_diagonal_(1.0)
        lowest = float(cosines.min())
        self.message_hub.update_scalar('train/task_cosine', lowest)
        self.message_hub.update_scalar('train/task_conflict', float(lowest < 0))


@OPTIM_WRAPPERS.register_module()
class AmpConflictSuppressingOptimWrapper(ConflictSuppressingOptimWrapper, AmpOptimWrapper):
    """The same with automatic mixed precision; takes the arguments of both.

    The task losses are scaled alike, and every aggregation is linear under a common factor: the
    gradient it leaves is the scaled one, which the scaler's step unscales and checks.
    """

    def _scaled(self, loss: Tensor) -> Tensor:
        return self.loss_scaler.scale(loss)
