"""Walking the autograd graph behind some tensors."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.autograd.graph import Node

__all__ = ['graph_nodes', 'inner_nodes', 'reached_parameters']

_LEAF = 'torch::autograd::AccumulateGrad'


def graph_nodes(tensors: Iterable[Tensor]) -> set[Node]:
    """All nodes that lead from some tensors down to what they were made of."""
    seen = {tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None}
    stack = list(seen)
    while stack:
        for following, _ in stack.pop().next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)
    return seen


def inner_nodes(nodes: Iterable[Node]) -> set[Node]:
    """Those that a backward pass frees: all but the ones that write to ``.grad``."""
    return {node for node in nodes if node.name() != _LEAF}


def reached_parameters(loss: Tensor, index: Mapping[nn.Parameter, int]) -> set[int]:
    """Which parameters a loss depends on, from its autograd graph.

    Args:
        loss: scalar with a graph.
        index: the parameters in question and their numbers.

    Returns:
        The numbers of those that the graph leads to.

    Raises:
        RuntimeError: the graph goes through a re-entrant activation checkpoint.
    """
    found: set[int] = set()
    for node in graph_nodes([loss]):
        name = node.name()
        if name == _LEAF:
            variable = node.variable  # type: ignore[attr-defined]  # torch's Node does not list it
            if variable in index:
                found.add(index[variable])
        elif name == 'CheckpointFunctionBackward':
            raise RuntimeError(
                'the gradient of a single task cannot be taken through a re-entrant activation '
                'checkpoint: call torch.utils.checkpoint.checkpoint with use_reentrant=False, or '
                "suppress conflicts with level='features'"
            )
    return found
