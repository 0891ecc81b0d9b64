"""One gradient per task with respect to the parameters: level ``'parameters'``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from ..errors import SettingError
from .aggregators import Aggregator
from .autograd_graph import reached_parameters
from .gram import combine_rows, gram_matrix
from .processes import average, average_gradients, cut_like, gradient_dtype, num_processes

__all__ = ['TaskGradients', 'refuse_strangers']

_Place = tuple[int, int]  # number of a task and of a parameter


@dataclass(frozen=True)
class _Memory:
    """Where the gradients of an update are gathered: one buffer, and views of it.

    Attributes:
        buffer: the rows, the gradients of single tasks and the flags, what processes exchange.
        rows: (K, width) of the shared parameters.
        flags: (K * number of parameters + 2,) who used what, and whether anything found no room
            or was in ``.grad`` before.
        views: each gradient in the shape of its parameter.
        shared: numbers of the shared parameters, in the order of the rows.
    """

    buffer: Tensor
    rows: Tensor
    flags: Tensor
    views: dict[_Place, Tensor]
    shared: dict[int, None]


class TaskGradients:
    """The gradients of K tasks, one row a task where tasks share, one copy elsewhere.

    Which parameters tasks share is read from the losses' graphs. Processes agree on one layout when
    the first step needs it: all that any of them has used so far. It only ever grows, so that
    steps exchange one message each: the rows, the gradients of single tasks, and who used what.

    Memory: (K - 1) x the shared parameters more than plain training, from the first backward pass
    of an update to its end.

    Args:
        parameters: all that are optimised, frozen ones included, which may be trained later on.
        num_tasks: K.
        layout: that of an earlier run, to go on from. The order in which inner products are summed
            depends on it, and with that their last bits.

    Attributes:
        layout: (K, number of parameters) bool, on the CPU: which task has room for which gradient.
        uses: (K, number of parameters) bool, on the CPU: in the update under way, on any process
            once :meth:`reduce` was called.
        others: leaves that the losses added last depend on, too, and that get no gradient.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], num_tasks: int, layout: Tensor | None = None
    ) -> None:
        self.parameters = list(parameters)
        self.num_tasks = num_tasks
        self._index = {p: i for i, p in enumerate(self.parameters)}
        self._dtype = gradient_dtype(self.parameters)
        shape = num_tasks, len(self.parameters)
        if layout is None or layout.shape != shape:
            layout = torch.zeros(shape, dtype=torch.bool)
        self.layout = layout
        self.others: list[Tensor] = []
        self._clear()

    def _clear(self) -> None:
        self.uses = torch.zeros_like(self.layout)
        self._memory: _Memory | None = None
        self._plain: dict[int, Tensor] = {}
        self._misfits: dict[_Place, Tensor] = {}

    def add(self, losses: Sequence[Tensor | None]) -> None:
        """Add the gradients of the tasks' losses; None, or a loss without a graph, adds nothing.

        Raises:
            SettingError: what single tasks use is hidden in a graph that torch has compiled.
        """
        live = {k: v for k, v in enumerate(losses) if v is not None and v.requires_grad}
        found = {k: reached_parameters(loss, self._index) for k, loss in live.items()}
        _refuse_compiled_heads(one.compiled for one in found.values())
        reached = {k: sorted(one.numbers) for k, one in found.items()}
        self.others = [leaf for one in found.values() for leaf in one.others]
        used = torch.zeros_like(self.layout)
        for k, indices in reached.items():
            used[k, indices] = True
        if num_processes() == 1:
            self._grow(used)
        elif not self.layout.any():  # the first step: no process has a layout yet
            flags = used.to(self._device, self._dtype)
            self._grow(average(flags).cpu() > 0)
        views = self._held.views
        for k, loss in live.items():
            if not reached[k]:
                continue
            gradients = torch.autograd.grad(
                loss,
                [self.parameters[i] for i in reached[k]],
                retain_graph=k != max(live),
                allow_unused=True,
            )
            targets, sources = [], []
            for i, gradient in zip(reached[k], gradients, strict=True):
                if gradient is None:
                    continue
                self.uses[k, i] = True
                if self.layout[k, i]:
                    targets.append(views[k, i])
                    sources.append(gradient)
                else:
                    before = self._misfits.get((k, i))
                    self._misfits[k, i] = gradient if before is None else before + gradient
            if targets:
                torch._foreach_add_(targets, sources)

    def reduce(self) -> None:
        """Average over all processes."""
        if num_processes() == 1:
            return
        held = self._held
        before = any(parameter.grad is not None for parameter in self.parameters)
        rare = torch.tensor([bool(self._misfits), before])
        held.flags.copy_(torch.cat([self.uses.flatten(), rare]))
        average(held.buffer)
        flags = held.flags.cpu()
        self.uses = flags[:-2].view_as(self.uses) > 0
        if flags[-1] > 0:
            average_gradients(self.parameters)
        if flags[-2] > 0:
            # Some process used what the layout has no room for: they all make room, and exchange
            # what the first message lacked. Rare, as the layout keeps all it has ever seen.
            new, held = self._grow(self.uses), self._held
            late = [self.parameters[i] for _, i in new]
            message = held.buffer.new_zeros(sum(p.numel() for p in late))
            parts = dict(zip(new, cut_like(message, late), strict=True))
            for place, gradient in self._misfits.items():
                parts[place].copy_(gradient)
            average(message)
            for place, part in parts.items():
                held.views[place].copy_(part)
        self._misfits.clear()

    def gram(self) -> Tensor:
        """(K, K) float64 inner products, on the CPU, over what at least two tasks use."""
        self._plain, held = {}, self._held
        for i in held.shared:
            users = self.uses[:, i].nonzero().flatten().tolist()
            if len(users) == 1:  # this time no other task uses it
                view = held.views[users[0], i]
                self._plain[i] = view.clone()
                view.zero_()
        return gram_matrix([held.rows])

    def write(self, aggregator: Aggregator, weights: Tensor, tasks: Sequence[int]) -> None:
        """Add to ``.grad`` the aggregate where tasks share, the plain gradient elsewhere.

        A parameter that no task uses keeps ``.grad`` as it is. Frees the rows.

        Args:
            aggregator: mixes the rows.
            weights: (number of tasks,) what it made of their Gram matrix.
            tasks: those that take part; the others' rows are 0.
        """
        held = self._held
        combine_rows(held.rows, aggregator, weights, tasks)
        for i in self.uses.any(dim=0).nonzero().flatten().tolist():
            parameter = self.parameters[i]
            if i in self._plain:
                gradient = self._plain[i]
            elif i in held.shared:
                gradient = held.views[0, i]
            else:
                gradient = held.views[int(self.uses[:, i].nonzero()[0]), i]
            gradient = gradient.to(parameter.dtype)
            # As a backward pass does: others may have left theirs.
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
            for hook in (getattr(parameter, '_post_accumulate_grad_hooks', None) or {}).values():
                hook(parameter)
        self._clear()

    @property
    def _device(self) -> torch.device:
        return self.parameters[0].device

    @property
    def _held(self) -> _Memory:
        """The memory of the update under way, allocated where it is first asked for."""
        if self._memory is None:
            self._memory = self._allocate()
        return self._memory

    def _allocate(self) -> _Memory:
        """Rows of the shared parameters, then the single tasks' ones, then flags."""
        counts = self.layout.sum(dim=0)
        shared = dict.fromkeys((counts > 1).nonzero().flatten().tolist())
        single = [(k, i) for k, i in self.layout.nonzero().tolist() if i not in shared]
        width = sum(self.parameters[i].numel() for i in shared)
        length = self.num_tasks * width + sum(self.parameters[i].numel() for _, i in single)
        buffer = torch.zeros(length + self.uses.numel() + 2, dtype=self._dtype, device=self._device)
        places = [(k, i) for k in range(self.num_tasks) for i in shared] + single
        views = cut_like(buffer[:length], [self.parameters[i] for _, i in places])
        return _Memory(
            buffer,
            rows=buffer[: self.num_tasks * width].view(self.num_tasks, width),
            flags=buffer[length:],
            views=dict(zip(places, views, strict=True)),
            shared=shared,
        )

    def _grow(self, used: Tensor) -> list[_Place]:
        """Make room for what is used and has none, and list it; what was gathered moves along."""
        new = [(k, i) for k, i in (used & ~self.layout).nonzero().tolist()]
        if new:
            self.layout |= used
            old, self._memory = self._memory, None
            if old is not None:
                for place, view in old.views.items():
                    self._held.views[place].copy_(view)
        return new


def refuse_strangers(leaves: Iterable[Tensor], model: nn.Module) -> None:
    """Stop where parameters are to be trained that the optimiser does not hold.

    They would get no gradient in a suppressing step, and processes would not average it.

    Args:
        leaves: what gets a gradient from others. Those that are no parameters of the model, such as
            inputs of activation checkpoints, pass.
        model: that is trained.

    Raises:
        SettingError: there is one.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    found = [names[id(leaf)] for leaf in leaves if id(leaf) in names]
    if found:
        raise SettingError(
            f'the optimizer of this optim_wrapper does not hold {found[0]}'
            f'{" and others" if found[1:] else ""}, which the losses are to train: give it all '
            'trained parameters of the model, or freeze those that are not to be trained'
        )


def _refuse_compiled_heads(used: Iterable[Mapping[Node, set[int]]]) -> None:
    """Only what tasks share may be compiled together: all of them use the same outputs of it."""
    seen: dict[Node, set[int]] = {}
    for compiled in used:
        for node, outputs in compiled.items():
            if seen.setdefault(node, outputs) != outputs:
                raise SettingError(
                    'torch.compile has made one graph of parts that different tasks use, in which '
                    "the parameters that they share cannot be told from a single task's: compile "
                    'the trunk and each head by itself'
                )
