"""mmengine optimiser wrappers that keep tasks from undoing each other's progress."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, Registry
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.nn.parallel import DistributedDataParallel

from ..errors import SettingError
from .aggregators import AGGREGATORS
from .autograd_graph import keep_compiled_graphs
from .faults import faulty_tasks
from .feature_gradients import FeatureGradients, find_module
from .loss_balancers import LOSS_BALANCERS
from .losses import refuse_other_totals, task_losses, task_patterns
from .monitor import report_conflict
from .processes import (
    average_gradients,
    num_processes,
    refuse_partial_tasks,
    refuse_sharded,
    synchronises_norms,
)
from .schedule import SCHEDULES
from .task_gradients import TaskGradients, refuse_strangers
from .task_watch import TaskWatch

__all__ = ['AmpConflictSuppressingOptimWrapper', 'ConflictSuppressingOptimWrapper']

_STATE = 'conflict_suppression'  # key in checkpoints
_PARTS = ('schedule', 'aggregator', 'balancer')  # that remember something


def _build(registry: Registry, cfg: dict) -> Any:
    # Registry.build looks in the default scope first, mmdet3d's say, and warns.
    cfg = dict(cfg)
    name = cfg.pop('type')
    kind = registry.get(name)
    if kind is None:
        raise KeyError(f'there is no {registry.name} {name!r}, only {sorted(registry.module_dict)}')
    return kind(**cfg)


def _same(first: Sequence[nn.Parameter], second: Sequence[nn.Parameter]) -> bool:
    return [*map(id, first)] == [*map(id, second)]


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
        tasks_within: forward passes in which every task has to have had a loss, and suppressing
            updates in which two have to have met; 50 is our choice, 0 does not look.
        overlap_free_steps: with several processes, leave the averaging in free steps to
            DistributedDataParallel, which overlaps it with the backward pass and needs every
            parameter to be used on every process, or its ``find_unused_parameters``. By default
            this wrapper averages after the backward pass, in one message, whatever was used.

    Attributes:
        faulty_tasks: tasks whose gradient was not finite in the last update; all of them where it
            cannot be told. It is for others to skip the update, as a loss scaler does.

    Example:
        >>> optim_wrapper = dict(
        ...     type='ConflictSuppressingOptimWrapper',
        ...     optimizer=dict(type='Adam', lr=2e-3),
        ...     tasks=dict(detection=['loss_cls', 'loss_bbox', 'loss_dir'],
        ...                prediction=['loss_trajectory']))

    Raises:
        SettingError: fewer than two tasks, an unknown level, or ``features`` without its level; in
            training, see :class:`TaskWatch`, and where the model trains parameters that
            ``optimizer`` does not hold.
    """

    def __init__(
        self,
        *,
        tasks: Mapping[str, str | Sequence[str]],
        aggregator: dict | None = None,
        schedule: dict | None = None,
        level: Literal['parameters', 'features'] = 'parameters',
        features: str | None = None,
        balancer: dict | None = None,
        tasks_within: int = 50,
        overlap_free_steps: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(tasks) < 2:
            raise SettingError(f'conflicts need at least two tasks, got {list(tasks)}')
        if level not in ('parameters', 'features') or (level == 'features') != bool(features):
            raise SettingError(
                "level is 'parameters', or 'features' together with features='name of a module'; "
                f'got {level=}, {features=}'
            )
        self.tasks = task_patterns(tasks)
        self.aggregator = _build(AGGREGATORS, aggregator or dict(type='PCGrad'))
        if not self.aggregator.plain:
            keep_compiled_graphs()
        self.schedule = _build(SCHEDULES, schedule or dict(type='PeriodicSchedule'))
        self.balancer = (
            _build(LOSS_BALANCERS, {**balancer, 'tasks': list(self.tasks)}) if balancer else None
        )
        self.features = features
        self.overlap_free_steps = overlap_free_steps
        self._watch = TaskWatch(self.tasks, tasks_within)
        self._losses: dict[str, Tensor] | None = None
        self._loss_names: list[str] = []
        self._returned = ''  # by a forward pass without losses, its type
        self._gradients: TaskGradients | FeatureGradients | None = None
        self._layout: Tensor | None = None  # of a checkpoint's TaskGradients
        self._model: nn.Module | None = None
        self._decision: tuple[int, bool] | None = None
        self._synced_norms = self._total_is_checked = False
        self.faulty_tasks: list[str] = []

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
        """Whether this wrapper averages the gradients of free steps over processes."""
        return num_processes() > 1 and not self.overlap_free_steps

    def should_sync(self) -> bool:
        """Whether DistributedDataParallel is to average gradients in its backward pass."""
        # A suppressing step averages the task gradients itself, before they are mixed.
        return not self._averages and not self.suppresses and super().should_sync()

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Mmengine's context; on the way it takes note of the model's losses."""
        module = model.get_submodule('module') if is_model_wrapper(model) else model
        if module is not self._model:
            refuse_sharded(model)
            find_module(module, self.features or '')
            self._model, self._synced_norms = module, synchronises_norms(module)
            if self._averages:
                held = {id(p) for p in self._parameters}
                others = [p for p in module.parameters() if p.requires_grad and id(p) not in held]
                refuse_strangers(others, module)
            self._total_is_checked = False
        if isinstance(model, DistributedDataParallel) and super().should_sync():
            # no_sync would also keep DistributedDataParallel from broadcasting buffers.
            model.require_forward_param_sync = True
        with ExitStack() as stack:
            stack.callback(module.register_forward_hook(self._note_losses).remove)
            if self.suppresses and self.features is not None:
                self._gradients = FeatureGradients(len(self.tasks))
                cut = find_module(module, self.features)
                stack.callback(cut.register_forward_hook(self._gradients.hook).remove)
            stack.enter_context(super().optim_context(model))
            yield

    def _note_losses(self, module: nn.Module, inputs: tuple, output: object) -> None:
        if isinstance(output, Mapping):
            self._losses = task_losses(output, self.tasks)
            self._loss_names = [name for name in output if 'loss' in name]
        else:  # of a model that calls itself, for pseudo-labels say
            self._returned = type(output).__name__

    @_disable_dynamo  # torch.compiler.disable would import all of dynamo now
    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Backward pass of a free or of a suppressing step; counts it.

        Raises:
            RuntimeError: the losses were not seen, or do not add up to ``loss``.
            TypeError: the model returned no dictionary of losses.
        """
        losses, self._losses, self.faulty_tasks = self._losses, None, []
        suppresses, step, reported = self.suppresses, self.update_index, False
        if losses is not None:
            self._note_total(losses, loss)
            self._watch.note_losses(losses, self._loss_names, self._parameters[0].device)
        elif self._returned:
            raise TypeError(
                f'{type(self._model).__name__} returned {self._returned}; conflict suppression '
                'needs a dictionary of losses'
            )
        elif suppresses or self.balancer:
            raise RuntimeError(
                'the forward pass must run inside optim_context(model), as train_step does, for '
                'the optimiser wrapper to see the losses of the tasks'
            )
        losses = dict(losses or {})
        if self.balancer:
            for task, factor in self.balancer.weigh(losses).items():
                losses[task] = factor * losses[task]
                self.message_hub.update_scalar(f'train/balance/{task}', factor)
            loss = self.scale_loss(sum(losses.values())) if losses else loss
        if suppresses:
            reported = self._suppress({task: losses.get(task) for task in self.tasks}, step)
        else:
            super().backward(loss, **kwargs)
        if not self.aggregator.plain:
            self.message_hub.update_scalar('train/suppressing', float(reported))
        if self.should_update():
            if num_processes() > 1 and (self.features if suppresses else self._averages):
                average_gradients([p for p in self._parameters if p.requires_grad])
            self._note_faults()
            if self.balancer:
                self.balancer.learn(self._parameters[0].device)

    def _note_total(self, losses: Mapping[str, Tensor], total: Tensor) -> None:
        """Check that the model trains on the sum of its losses: a free step trains on the total.

        Once, and where a step suppresses conflicts, which waits for the device anyway.
        """
        if losses and (self.suppresses or not self._total_is_checked):
            scaled = {task: self.scale_loss(value) for task, value in losses.items()}
            refuse_other_totals(scaled, total)
            # Of infinite losses nothing can be told.
            self._total_is_checked = bool(total.detach().isfinite())

    def _note_faults(self) -> None:
        """Complete the list of faulty tasks by what their gradients say, before they are clipped.

        In a suppressing update :meth:`_aggregate` has told them apart where they share parameters.
        """
        kept = self._gradients
        layout = kept.layout if isinstance(kept, TaskGradients) else self._layout
        if not self.faulty_tasks:
            self.faulty_tasks = faulty_tasks(self._parameters, list(self.tasks), layout)

    @property
    def _parameters(self) -> list[nn.Parameter]:
        # Frozen ones, too: what an update has gathered stays when they begin to be trained.
        return [p for group in self.optimizer.param_groups for p in group['params']]

    @property
    def _place(self) -> str:
        return f'the output of {self.features!r}' if self.features else 'parameters of the model'

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss

    def _suppress(self, losses: dict[str, Tensor | None], step: int) -> bool:
        """Backward pass of a suppressing step; whether it ends an update, with finite ones."""
        if self._synced_norms and num_processes() > 1:
            refuse_partial_tasks(losses, self._parameters[0].device)
        gradients = self._task_gradients() if self.features is None else self._gradients
        assert gradients is not None, 'optim_context sets those of the features'
        gradients.add(
            [None if v is None else self._scaled(self.scale_loss(v)) for v in losses.values()]
        )
        self._inner_count += 1
        if isinstance(gradients, TaskGradients):
            if gradients.others and self._model is not None:
                refuse_strangers(gradients.others, self._model)
            if not self.should_update():
                return False
            gradients.reduce()
        unit = next((loss for loss in losses.values() if loss is not None), None)
        scale = 1.0 if unit is None else float(self._scaled(torch.ones_like(unit.detach())))
        return self._aggregate(gradients, step, scale)

    def _task_gradients(self) -> TaskGradients:
        """Kept from step to step, as long as the optimiser holds the same parameters."""
        kept, parameters = self._gradients, self._parameters
        if isinstance(kept, TaskGradients) and _same(kept.parameters, parameters):
            return kept
        made = TaskGradients(parameters, len(self.tasks), self._layout)
        self._gradients, self._layout = made, None
        return made

    def _aggregate(
        self, gradients: TaskGradients | FeatureGradients, step: int, scale: float
    ) -> bool:
        """Make one gradient of the task gradients; whether they were finite."""
        gram = gradients.gram()
        finite = bool(gram.isfinite().all())
        if finite:
            # A task without a gradient here is no task: some methods would let it win.
            tasks = (gram.diagonal() > 0).nonzero().flatten().tolist()
            self._watch.note_meeting(tasks, self._place)
            weights = gram.new_ones(len(tasks))
            if len(tasks) > 1:
                weights = self.aggregator(gram[tasks][:, tasks], tasks)
            lowest = report_conflict(
                self.message_hub, list(self.tasks), gram, weights, tasks, scale
            )
            if lowest is not None:
                self.schedule.observe(step, lowest)
        else:
            # The plain sum shows infinities to the loss scaler; nothing is learned from them.
            tasks, weights = list(range(len(gram))), gram.diagonal() * torch.nan
            good = gram.diagonal().isfinite()
            weights = torch.where(good, 1.0, weights)
            names = zip(self.tasks, good.tolist(), strict=True)
            self.faulty_tasks = [task for task, finite_ in names if not finite_]
        gradients.write(self.aggregator, weights, tasks)
        return finite

    def state_dict(self) -> dict:
        """The optimiser's state and, under one key of plain values, all that decides what follows.

        A stock OptimWrapper reads it too.
        """
        state = super().state_dict()
        kept = self._gradients
        state[_STATE] = dict(
            inner_count=self._inner_count,
            tasks=list(self.tasks),
            layout=kept.layout.clone() if isinstance(kept, TaskGradients) else self._layout,
            schedule=self.schedule.state_dict(),
            aggregator=self.aggregator.state_dict(),
            balancer=self.balancer.state_dict() if self.balancer else {},
            kinds={name: type(getattr(self, name)).__name__ for name in _PARTS},
            watch=self._watch.state_dict(),
        )
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from a checkpoint, a stock OptimWrapper's also.

        What an aggregator, schedule or balancer of another kind, or of other tasks, remembered is
        left out.
        """
        state_dict = dict(state_dict)
        own = state_dict.pop(_STATE, None)
        super().load_state_dict(state_dict)
        if own is None:
            return
        self._inner_count, self._decision = own['inner_count'], None
        if 'watch' in own:  # not in checkpoints of earlier versions
            self._watch.load_state_dict(own['watch'])
        if own['tasks'] != list(self.tasks):
            return
        # mmengine loads checkpoints to the device it trains on.
        self._gradients, self._layout = None, own['layout']
        if self._layout is not None:
            self._layout = self._layout.cpu()
        for name, part in self._remembering(own).items():
            part.load_state_dict(own[name])

    def forgotten_state(self, state_dict: dict) -> list[str]:
        """What :meth:`load_state_dict` leaves out: ``schedule``, ``aggregator``, ``balancer``."""
        own = state_dict.get(_STATE, {})
        taken = self._remembering(own) if own else {}
        return [name for name in _PARTS if own.get(name) and name not in taken]

    def _remembering(self, own: dict) -> dict[str, Any]:
        """The parts that can go on from a checkpoint's state."""
        if own['tasks'] != list(self.tasks):
            return {}
        parts = {name: getattr(self, name) for name in _PARTS}
        kinds = own.get('kinds', {})  # not in checkpoints of earlier versions
        return {
            name: part
            for name, part in parts.items()
            if part is not None
            and kinds.get(name, type(part).__name__) == type(part).__name__
            and own[name].keys() == part.state_dict().keys()
        }


@OPTIM_WRAPPERS.register_module()
class AmpConflictSuppressingOptimWrapper(ConflictSuppressingOptimWrapper, AmpOptimWrapper):
    """The same with automatic mixed precision; takes the arguments of both.

    The task losses are scaled alike, and every aggregation is linear under a common factor: the
    gradient it leaves is the scaled one, which the scaler's step unscales and checks. A task whose
    gradient overflows makes the result non-finite, and the scaler skips the step.
    """

    def _scaled(self, loss: Tensor) -> Tensor:
        return self.loss_scaler.scale(loss)
