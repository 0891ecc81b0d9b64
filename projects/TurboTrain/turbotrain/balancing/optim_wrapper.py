"""mmengine optimiser wrappers that keep tasks from undoing each other's progress."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, Registry
from torch import Tensor, nn

from .aggregators import AGGREGATORS
from .feature_gradients import FeatureGradients
from .loss_balancers import LOSS_BALANCERS
from .losses import task_losses
from .monitor import report_conflict
from .processes import (
    average,
    average_gradients,
    num_processes,
    refuse_sharded,
    synchronises_norms,
)
from .schedule import SCHEDULES
from .task_gradients import TaskGradients

__all__ = ['AmpConflictSuppressingOptimWrapper', 'ConflictSuppressingOptimWrapper']

_STATE = 'conflict_suppression'  # key in checkpoints


def _build(registry: Registry, cfg: dict) -> Any:
    # Registry.build looks in the default scope first, mmdet3d's say, and warns.
    cfg = dict(cfg)
    name = cfg.pop('type')
    kind = registry.get(name)
    if kind is None:
        raise KeyError(f'there is no {registry.name} {name!r}, only {sorted(registry.module_dict)}')
    return kind(**cfg)


@OPTIM_WRAPPERS.register_module()
class ConflictSuppressingOptimWrapper(OptimWrapper):
    """TurboTrain's hybrid optimisation: free gradient steps and conflict-suppressing ones.

    A free step is mmengine's own: one backward pass of the summed losses. A suppressing step takes
    one gradient per task and aggregates them where several tasks meet; parameters of one task alone
    get their plain gradient. It works with any model that returns a dictionary of losses, and with
    several processes: task gradients are averaged over them in one message before they are
    aggregated, and all aggregate the same numbers. :func:`report_conflict` lists what is logged.

    Source: TurboTrain (Zhou et al., ICCV 2025); schedule and projection are not public, see
    :class:`PeriodicSchedule` and :class:`PCGrad`.

    Args:
        tasks: task name -> names of its losses, with ``*`` and ``?`` as in file names.
        aggregator: config of an aggregator.
        schedule: config of a schedule.
        level: where tasks meet. ``'parameters'`` is exact: the shared parameters; the trunk is
            walked once per task. ``'features'``: at the output of the module ``features``, whose
            trunk is walked once; with gradient accumulation every pass is aggregated by itself.
        features: the module's name in the model, e.g. ``'fusion_neck'``.
        balancer: config of a loss balancer, a factor on each task's loss.
        overlap_free_steps: with several processes, leave the averaging in free steps to
            DistributedDataParallel, which overlaps it with the backward pass and needs every
            parameter to be used on every process, or its ``find_unused_parameters``. By default
            this wrapper averages after the backward pass, in one message, whatever was used.

    Example:
        >>> optim_wrapper = dict(
        ...     type='ConflictSuppressingOptimWrapper',
        ...     optimizer=dict(type='Adam', lr=2e-3),
        ...     tasks=dict(detection=['loss_cls', 'loss_bbox', 'loss_dir'],
        ...                prediction=['loss_trajectory']))

    Raises:
        ValueError: fewer than two tasks, an unknown level, or ``features`` without its level.
    """

    def __init__(
        self,
        *,
        tasks: Mapping[str, Sequence[str]],
        aggregator: dict | None = None,
        schedule: dict | None = None,
        level: Literal['parameters', 'features'] = 'parameters',
        features: str | None = None,
        balancer: dict | None = None,
        overlap_free_steps: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(tasks) < 2:
            raise ValueError(f'conflicts need at least two tasks, got {list(tasks)}')
        if level not in ('parameters', 'features') or (level == 'features') != bool(features):
            raise ValueError(
                "level is 'parameters', or 'features' together with features='name of a module'; "
                f'got {level=}, {features=}'
            )
        self.tasks = {task: tuple(patterns) for task, patterns in tasks.items()}
        self.aggregator = _build(AGGREGATORS, aggregator or dict(type='PCGrad'))
        self.schedule = _build(SCHEDULES, schedule or dict(type='PeriodicSchedule'))
        self.balancer = (
            _build(LOSS_BALANCERS, {**balancer, 'tasks': list(self.tasks)}) if balancer else None
        )
        self.features = features
        self.overlap_free_steps = overlap_free_steps
        self._losses: dict[str, Tensor] | None = None
        self._gradients: TaskGradients | FeatureGradients | None = None
        self._model: nn.Module | None = None
        self._decision: tuple[int, bool] | None = None
        self._synced_norms = False
        self._sums = torch.zeros(2, len(self.tasks), dtype=torch.float64)  # losses, how many
        self._norms: Tensor | None = None

    @property
    def update_index(self) -> int:
        """The number of the parameter update under way, from 0."""
        return self._inner_count // self._accumulative_counts

    @property
    def suppresses(self) -> bool:
        """Whether the parameter update under way suppresses conflicts."""
        # Decided once per update: what is measured on the way changes the next one only.
        if self._decision is None or self._decision[0] != self.update_index:
            suppresses = not self.aggregator.plain and self.schedule.suppresses(self.update_index)
            self._decision = self.update_index, suppresses
        return self._decision[1]

    @property
    def _averages(self) -> bool:
        """Whether this wrapper averages gradients over processes in a free step."""
        return num_processes() > 1 and not self.overlap_free_steps

    def should_sync(self) -> bool:
        """Whether DistributedDataParallel is to average gradients in its backward pass."""
        # A suppressing step averages the task gradients itself, before they are mixed.
        return not self._averages and not self.suppresses and super().should_sync()

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Mmengine's context; on the way it takes note of the model's losses."""
        module = model.module if is_model_wrapper(model) else model
        if module is not self._model:
            refuse_sharded(model)
            self._synced_norms, self._model = synchronises_norms(module), module
        if hasattr(model, 'require_forward_param_sync') and super().should_sync():
            # no_sync would also keep DistributedDataParallel from broadcasting buffers.
            model.require_forward_param_sync = True
        with ExitStack() as stack:
            stack.callback(module.register_forward_hook(self._note_losses).remove)
            if self.suppresses and self.features is not None:
                self._gradients = FeatureGradients(len(self.tasks))
                cut = module.get_submodule(self.features)
                stack.callback(cut.register_forward_hook(self._gradients.hook).remove)
            stack.enter_context(super().optim_context(model))
            yield

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
        suppresses, step = self.suppresses, self.update_index
        if losses is None and (suppresses or self.balancer):
            raise RuntimeError(
                'the forward pass must run inside optim_context(model), as train_step does, for '
                'the optimiser wrapper to see the losses of the tasks'
            )
        if self.balancer:
            losses = self._balanced(losses)
            loss = self.scale_loss(sum(losses.values())) if losses else loss
        if suppresses:
            self._suppress([losses.get(task) for task in self.tasks], step)
        else:
            super().backward(loss, **kwargs)
            self._norms = None
        if self.should_update():
            by_hand = self._averages if not suppresses else self.features and num_processes() > 1
            if by_hand:
                average_gradients(self._parameters)
            if self.balancer and self.balancer.learns:
                self._update_balancer()

    @property
    def _parameters(self) -> list[nn.Parameter]:
        groups = self.optimizer.param_groups
        return [p for group in groups for p in group['params'] if p.requires_grad]

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss

    def _suppress(self, losses: list[Tensor | None], step: int) -> None:
        if self._synced_norms and self.features is None and num_processes() > 1:
            self._require_all_or_none(losses)
        scaled = [None if loss is None else self._scaled(self.scale_loss(loss)) for loss in losses]
        if self.features is None:
            parameters = self._parameters
            gradients = self._gradients
            if gradients is None or [*map(id, gradients.parameters)] != [*map(id, parameters)]:
                self._gradients = TaskGradients(parameters, len(self.tasks))
        self._gradients.add(scaled)
        self._inner_count += 1
        if self.features is None:
            if not self.should_update():
                return
            self._gradients.reduce()
        unit = next((loss for loss in losses if loss is not None), None)
        scale = 1.0 if unit is None else float(self._scaled(torch.ones_like(unit.detach())))
        self._aggregate(step, scale)

    def _aggregate(self, step: int, scale: float) -> None:
        """Make one gradient of the task gradients."""
        gram = self._gradients.gram()
        if bool(gram.isfinite().all()):
            # A task without a gradient here is no task: some methods would let it win.
            tasks = (gram.diagonal() > 0).nonzero().flatten().tolist()
            weights = gram.new_ones(len(tasks))
            if len(tasks) > 1:
                weights = self.aggregator(gram[tasks][:, tasks], tasks)
            lowest = report_conflict(
                self.message_hub, list(self.tasks), gram, weights, tasks, scale
            )
            self.schedule.observe(step, lowest)
            self._norms = gram.diagonal().clamp(min=0).sqrt()
        else:
            # The plain sum shows infinities to the loss scaler; nothing is learned from them.
            tasks, weights, self._norms = list(range(len(gram))), gram.diagonal() * torch.nan, None
            weights = torch.where(gram.diagonal().isfinite(), 1.0, weights)
        self._gradients.write(self.aggregator, weights, tasks)

    def _require_all_or_none(self, losses: list[Tensor | None]) -> None:
        """Synchronised normalisation talks in the backward pass: all have to walk alike."""
        has = [float(loss is not None and loss.requires_grad) for loss in losses]
        present = self._on_device(torch.tensor(has))
        shares = average(present).tolist()
        for task, share in zip(self.tasks, shares, strict=True):
            if 0 < share < 1:
                raise RuntimeError(
                    f'task {task!r} has a loss on some processes only, and the model has '
                    'synchronised batch norm, which waits for all in the backward pass. Let the '
                    'head return a loss of 0 that depends on its features, or use plain batch norm'
                )

    def _on_device(self, tensor: Tensor) -> Tensor:
        """Where processes can exchange it."""
        return tensor.to(self._parameters[0].device)

    def _balanced(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.balancer.learns:
            for k, task in enumerate(self.tasks):
                if task in losses:
                    self._sums[:, k] += torch.tensor([float(losses[task].detach()), 1.0]).double()
        weights = dict(zip(self.tasks, self.balancer.weights.tolist(), strict=True))
        return {task: weights[task] * loss for task, loss in losses.items()}

    def _update_balancer(self) -> None:
        sums = average(self._on_device(self._sums)).cpu()
        self._sums = torch.zeros_like(sums)
        means = sums[0] / sums[1]  # NaN for tasks without a loss
        if not bool(sums.isfinite().all()):
            return
        self.balancer.update(means, self._norms)
        for task, weight in zip(self.tasks, self.balancer.weights.tolist(), strict=True):
            self.message_hub.update_scalar(f'train/balance/{task}', weight)

    def state_dict(self) -> dict:
        """The optimiser's state and, under one key of plain values, all that decides what follows.

        A stock OptimWrapper reads it too.
        """
        state = super().state_dict()
        state[_STATE] = dict(
            inner_count=self._inner_count,
            schedule=self.schedule.state_dict(),
            aggregator=self.aggregator.state_dict(),
            balancer=self.balancer.state_dict() if self.balancer else {},
        )
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from a checkpoint, a stock OptimWrapper's also."""
        state_dict = dict(state_dict)
        own = state_dict.pop(_STATE, None)
        super().load_state_dict(state_dict)
        if own is None:
            return
        self._inner_count, self._decision = own['inner_count'], None
        parts = dict(schedule=self.schedule, aggregator=self.aggregator, balancer=self.balancer)
        for name, part in parts.items():
            # Empty, or of another kind, if the config has changed since.
            if part is not None and own[name].keys() == part.state_dict().keys():
                part.load_state_dict(own[name])


@OPTIM_WRAPPERS.register_module()
class AmpConflictSuppressingOptimWrapper(ConflictSuppressingOptimWrapper, AmpOptimWrapper):
    """The same with automatic mixed precision; takes the arguments of both.

    The task losses are scaled alike, and every aggregation is linear under a common factor: the
    gradient it leaves is the scaled one, which the scaler's step unscales and checks. A task whose
    gradient overflows makes the result non-finite, and the scaler skips the step.
    """

    def _scaled(self, loss: Tensor) -> Tensor:
        return self.loss_scaler.scale(loss)
