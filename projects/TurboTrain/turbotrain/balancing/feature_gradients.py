"""One gradient per task with respect to a module's output: level ``'features'``."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SettingError
from .aggregators import Aggregator
from .autograd_graph import graph_nodes, inner_nodes
from .gram import combine_rows, gram_matrix
from .processes import average

__all__ = ['FeatureGradients', 'find_module']


def find_module(model: nn.Module, name: str) -> nn.Module:
    """The part of the model that has this name.

    Raises:
        SettingError: there is none.
    """
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        outer = [child for child, _ in model.named_children()]
        raise SettingError(
            f'{type(model).__name__} has no module features={name!r}; its outermost are {outer}'
        ) from error


class FeatureGradients:
    """The losses' graph is cut at a module's output, and walked once below it.

    Above the cut each task goes backward through its own part, once; what they leave at the cut
    (one gradient each) is aggregated there, and the trunk below is walked once with the result.
    Parameters above the cut get their plain gradient. What a loss reaches around the cut, be it the
    trunk itself, gets its plain gradient from there too.

    The features of all processes together are the tasks' common ground: processes add up their Gram
    matrices, so that all weigh alike. A tensor that one task alone uses, on this process in this
    step, is no common ground: it neither counts nor changes. Where the module runs on what it has
    given before, an earlier output gets from a later one what was mixed there.

    Args:
        num_tasks: K.
    """

    def __init__(self, num_tasks: int) -> None:
        self.num_tasks = num_tasks
        self._cuts: list[tuple[Tensor, Tensor]] = []
        self._gradients: list[list[Tensor | None]] = []
        self._rows: list[Tensor | None] = []
        self._chained = False

    def hook(self, module: nn.Module, inputs: tuple, output: Any) -> Any:
        """Forward hook that cuts."""
        return self._cut(output)

    def _cut(self, output: Any) -> Any:
        if isinstance(output, Tensor):
            if not output.requires_grad:
                return output
            leaf = next((leaf for known, leaf in self._cuts if known is output), None)
            if leaf is None:
                leaf = output.detach().requires_grad_()
                self._cuts.append((output, leaf))
            return leaf.clone()  # what follows may work in place
        if isinstance(output, dict):
            cut = copy.copy(output)  # of its own type, which may be built in another way
            cut.update({key: self._cut(value) for key, value in output.items()})
            return cut
        if isinstance(output, (list, tuple)):
            parts = [self._cut(value) for value in output]
            # A named tuple takes its values one by one.
            return type(output)(*parts) if hasattr(output, '_fields') else type(output)(parts)
        return output

    def add(self, losses: Sequence[Tensor | None]) -> None:
        """Walk the parts above the cut, each task with its own loss.

        Raises:
            RuntimeError: the module did not run, or what it returned has no graph.
        """
        if not self._cuts:
            raise RuntimeError(
                'the module named by `features` gave no output with a graph in this forward pass '
                '(a tensor, or lists, tuples or dicts of them): name one that runs when losses are '
                'computed, whose parameters are trained, and that is not compiled together with '
                'others'
            )
        live = {k: v for k, v in enumerate(losses) if v is not None and v.requires_grad}
        # A loss that goes around the cut walks part of the trunk, which has to be there still.
        below = graph_nodes(output for output, _ in self._cuts)
        keep = not inner_nodes(below).isdisjoint(graph_nodes(live.values()))
        self._chained = not below.isdisjoint(
            graph_nodes(leaf.view_as(leaf) for _, leaf in self._cuts)
        )
        self._gradients = [[None] * self.num_tasks for _ in self._cuts]
        for k, loss in live.items():
            torch.autograd.backward(loss, retain_graph=keep or k != max(live))
            for (_, leaf), gradients in zip(self._cuts, self._gradients, strict=True):
                gradients[k], leaf.grad = leaf.grad, None

    def gram(self) -> Tensor:
        """(K, K) float64 inner products, on the CPU, at outputs that at least two tasks use."""
        self._rows = []
        for (_, leaf), gradients in zip(self._cuts, self._gradients, strict=True):
            rows = None
            if sum(gradient is not None for gradient in gradients) > 1:
                rows = leaf.new_zeros(self.num_tasks, leaf.numel())
                for k, gradient in enumerate(gradients):
                    if gradient is not None:
                        rows[k], gradients[k] = gradient.flatten(), None
            self._rows.append(rows)
        total = gram_matrix(
            [self._cuts[0][1].new_zeros(self.num_tasks, 0)]
            + [rows for rows in self._rows if rows is not None]
        )
        device = self._cuts[0][1].device
        return average(total.to(device)).cpu()

    def write(self, aggregator: Aggregator, weights: Tensor, tasks: Sequence[int]) -> None:
        """Walk the trunk once: adds to ``.grad`` what plain training would, but for the mixing.

        Args:
            aggregator: mixes the gradients at the cut.
            weights: (number of tasks,) what it made of their Gram matrix.
            tasks: those that take part; the others' gradients are 0.
        """
        outputs, combined = [], []
        for (output, leaf), gradients, rows in zip(
            self._cuts, self._gradients, self._rows, strict=True
        ):
            single = [gradient for gradient in gradients if gradient is not None]
            if rows is not None:
                single = [combine_rows(rows, aggregator, weights, tasks).view_as(leaf)]
            if single:
                outputs.append(output)
                combined.append(single[0])
        cuts, self._cuts, self._gradients, self._rows = self._cuts, [], [], []
        while outputs:
            torch.autograd.backward(outputs, combined, retain_graph=self._chained)
            # Where the module ran on its own output, that is as far as the walk came.
            outputs, combined = [], []
            for output, leaf in cuts:
                if leaf.grad is not None:
                    outputs.append(output)
                    combined.append(leaf.grad)
                    leaf.grad = None
