"""One gradient per task with respect to the parameters: level ``'parameters'``."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .aggregators import Aggregator
from .autograd_graph import reached_parameters
from .gram import combine_rows, gram_matrix
from .processes import average, cut_like, gradient_dtype, num_processes

__all__ = ['TaskGradients']


class TaskGradients:
    """The gradients of K tasks, one row a task where tasks share, one copy elsewhere.

    Which parameters tasks share is read from the losses' graphs. Processes agree on one layout when
    the first step needs it: all that any of them has used so far. It only ever grows, so that
    steps exchange one message each: the rows, the gradients of single tasks, and who used what.

    Memory: (K - 1) x the shared parameters more than plain training, from the first backward pass
    of an update to its end.

    Args:
        parameters: all that are optimised.
        num_tasks: K.
        layout: that of an earlier run, to go on from. The order in which inner products are summed
            depends on it, and with that their last bits.

    Attributes:
        layout: (K, number of parameters) bool, on the CPU: which task has room for which gradient.
        uses: (K, number of parameters) bool, on the CPU: in the update under way, on any process
            once :meth:`reduce` was called.
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
        self._clear()

    def _clear(self) -> None:
        self.uses = torch.zeros_like(self.layout)
        # All that shares the buffer's memory goes with it.
        self._buffer: Tensor | None = None
        self._rows: Tensor | None = None
        self._flags: Tensor | None = None
        self._views: dict[tuple[int, int], Tensor] = {}
        self._plain: dict[int, Tensor] = {}
        self._misfits: dict[tuple[int, int], Tensor] = {}

    def add(self, losses: Sequence[Tensor | None]) -> None:
        """Add the gradients of the tasks' losses; None, or a loss without a graph, adds nothing."""
        live = [k for k, loss in enumerate(losses) if loss is not None and loss.requires_grad]
        reached = {k: sorted(reached_parameters(losses[k], self._index)) for k in live}
        used = torch.zeros_like(self.layout)
        for k, indices in reached.items():
            used[k, indices] = True
        if num_processes() == 1:
            self._grow(used)
        elif not self.layout.any():  # the first step: no process has a layout yet
            flags = used.to(self._device, self._dtype)
            self._grow(average(flags).cpu() > 0)
        if self._buffer is None:
            self._allocate()
        for k in live:
            if not reached[k]:
                continue
            gradients = torch.autograd.grad(
                losses[k],
                [self.parameters[i] for i in reached[k]],
                retain_graph=k != live[-1],
                allow_unused=True,
            )
            targets, sources = [], []
            for i, gradient in zip(reached[k], gradients, strict=True):
                if gradient is None:
                    continue
                self.uses[k, i] = True
                if self.layout[k, i]:
                    targets.append(self._views[k, i])
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
        self._write_flags()
        average(self._buffer)
        flags = self._flags.cpu()
        self.uses = flags[:-1].view_as(self.uses) > 0
        if flags[-1] > 0:
            # Some process used what the layout has no room for: they all make room, and exchange
            # what the first message lacked. Rare, as the layout keeps all it has ever seen.
            self._grow(self.uses)
            late = [self.parameters[i] for _, i in self._new]
            message = self._buffer.new_zeros(sum(p.numel() for p in late))
            parts = dict(zip(self._new, cut_like(message, late), strict=True))
            for place, gradient in self._misfits.items():
                parts[place].copy_(gradient)
            average(message)
            for place, part in parts.items():
                self._views[place].copy_(part)
        self._misfits.clear()

    def gram(self) -> Tensor:
        """(K, K) float64 inner products, on the CPU, over what at least two tasks use."""
        self._plain = {}
        for i in self._shared:
            users = self.uses[:, i].nonzero().flatten().tolist()
            if len(users) == 1:  # this time no other task uses it
                view = self._views[users[0], i]
                self._plain[i] = view.clone()
                view.zero_()
        return gram_matrix([self._rows])

    def write(self, aggregator: Aggregator, weights: Tensor, tasks: Sequence[int]) -> None:
        """Set ``.grad``: the aggregate where tasks share, the plain gradient elsewhere.

        A parameter that no task uses keeps ``.grad`` as it is. Frees the rows.

        Args:
            aggregator: mixes the rows.
            weights: (number of tasks,) what it made of their Gram matrix.
            tasks: those that take part; the others' rows are 0.
        """
        combine_rows(self._rows, aggregator, weights, tasks)
        for i in self.uses.any(dim=0).nonzero().flatten().tolist():
            parameter = self.parameters[i]
            if i in self._plain:
                gradient = self._plain[i]
            elif i in self._shared:
                gradient = self._views[0, i]
            else:
                gradient = self._views[int(self.uses[:, i].nonzero()[0]), i]
            parameter.grad = gradient.to(parameter.dtype)
        self._clear()

    @property
    def _device(self) -> torch.device:
        return self.parameters[0].device

    def _allocate(self) -> None:
        """Rows of the shared parameters, then the single tasks' ones, then flags."""
        counts = self.layout.sum(dim=0)
        self._shared = dict.fromkeys((counts > 1).nonzero().flatten().tolist())
        single = [(k, i) for k, i in self.layout.nonzero().tolist() if i not in self._shared]
        width = sum(self.parameters[i].numel() for i in self._shared)
        length = self.num_tasks * width + sum(self.parameters[i].numel() for _, i in single)
        self._buffer = torch.zeros(
            length + self.uses.numel() + 1, dtype=self._dtype, device=self._device
        )
        self._rows = self._buffer[: self.num_tasks * width].view(self.num_tasks, width)
        self._flags = self._buffer[length:]
        places = [(k, i) for k in range(self.num_tasks) for i in self._shared] + single
        views = cut_like(self._buffer[:length], [self.parameters[i] for _, i in places])
        self._views = dict(zip(places, views, strict=True))

    def _write_flags(self) -> None:
        own = torch.cat([self.uses.flatten(), torch.tensor([bool(self._misfits)])])
        self._flags.copy_(own)

    def _grow(self, used: Tensor) -> None:
        """Make room for what is used and has none; what was gathered moves along."""
        self._new = [*map(tuple, (used & ~self.layout).nonzero().tolist())]
        if not self._new:
            return
        self.layout |= used
        if self._buffer is None:
            return
        old = self._views
        self._allocate()
        for place, view in old.items():
            self._views[place].copy_(view)
