"""From a model's dictionary of losses to one gradient per task."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

__all__ = ['TaskGradients', 'task_losses']


def task_losses(
    losses: Mapping[str, Tensor | list[Tensor]], tasks: Mapping[str, Sequence[str]]
) -> dict[str, Tensor]:
    """Sum a model's losses by task, as mmengine's ``parse_losses`` sums them all.

    Args:
        losses: what the model's ``loss`` returns. Entries without ``loss`` in their name are for
            the log only, as in mmengine.
        tasks: task name -> names of its losses; ``*`` and ``?`` match as in file names.

    Returns:
        Task name -> scalar; tasks of which no loss is there are left out.

    Raises:
        ValueError: a loss belongs to no task or to more than one.
    """
    sums: dict[str, Tensor] = {}
    for name, value in losses.items():
        if 'loss' not in name:
            continue
        owners = [t for t, patterns in tasks.items() if any(fnmatchcase(name, p) for p in patterns)]
        if len(owners) != 1:
            belongs = f'to more than one task ({", ".join(owners)})' if owners else 'to no task'
            listed = '; '.join(f'{task}: {", ".join(p)}' for task, p in tasks.items())
            raise ValueError(
                f'loss {name!r} belongs {belongs}. The optim_wrapper has tasks {listed}'
            )
        scalar = sum(v.mean() for v in value) if isinstance(value, list) else value.mean()
        sums[owners[0]] = sums[owners[0]] + scalar if owners[0] in sums else scalar
    return {task: sums[task] for task in tasks if task in sums}


class TaskGradients:
    """The gradients of K tasks by all P parameter values, stacked.

    Attributes:
        matrix: (K, P), 0 where a task does not use a parameter.
        uses: (K, number of parameters), above 0 where it does.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], num_tasks: int) -> None:
        self._parameters = list(parameters)
        self._sizes = [p.numel() for p in self._parameters]
        first = self._parameters[0]
        # One buffer, so that processes exchange gradients and uses in one message.
        self._buffer = first.new_zeros(num_tasks, sum(self._sizes) + len(self._sizes))
        self.matrix = self._buffer[:, : sum(self._sizes)]
        self.uses = self._buffer[:, sum(self._sizes) :]

    def add(self, losses: Sequence[Tensor | None]) -> None:
        """Add the gradients of the tasks' losses; None, or a loss without a graph, adds nothing."""
        live = [k for k, loss in enumerate(losses) if loss is not None and loss.requires_grad]
        for k in live:
            gradients = torch.autograd.grad(
                losses[k], self._parameters, retain_graph=k != live[-1], allow_unused=True
            )
            for i, (part, gradient) in enumerate(
                zip(self.matrix[k].split(self._sizes), gradients, strict=True)
            ):
                if gradient is not None:
                    part.add_(gradient.flatten())
                    self.uses[k, i] = 1

    def reduce(self) -> None:
        """Average over all processes."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self._buffer)
            self._buffer /= torch.distributed.get_world_size()

    def gram(self) -> Tensor:
        """(K, K) float64 inner products, on the CPU, over what at least two tasks use."""
        shared = self.matrix * self._by_value(self._shared())
        return (shared @ shared.T).cpu().double()

    def write(self, weights: Tensor) -> None:
        """Set ``.grad``: the weighted sum where tasks share, the plain one elsewhere.

        A parameter that no task uses keeps ``.grad`` as it is.
        """
        combined = torch.where(
            self._by_value(self._shared()),
            weights.to(self.matrix) @ self.matrix,
            self.matrix.sum(dim=0),
        )
        used = (self.uses > 0).any(dim=0).tolist()
        parts = combined.split(self._sizes)
        for parameter, part, is_used in zip(self._parameters, parts, used, strict=True):
            if is_used:
                parameter.grad = part.view_as(parameter)

    def _shared(self) -> Tensor:
        return (self.uses > 0).sum(dim=0) > 1

    def _by_value(self, by_parameter: Tensor) -> Tensor:
        sizes = torch.tensor(self._sizes, device=by_parameter.device)
        return by_parameter.repeat_interleave(sizes, output_size=sum(self._sizes))
