"""Walking the autograd graph behind some tensors."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
import torch._functorch.config as functorch
from torch import Tensor, nn
from torch.autograd.graph import Node

__all__ = ['graph_nodes', 'inner_nodes', 'keep_compiled_graphs', 'reached_parameters']

_COMPILED = 'CompiledFunctionBackward'
_LEAF = 'torch::autograd::AccumulateGrad'
_TAG = 'graphs-are-kept'


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


def keep_compiled_graphs() -> None:
    """Have ``torch.compile`` make graphs that several backward passes may go through.

    It holds for all that this process compiles from now on. By default a compiled backward pass
    overwrites what it gets, and a second one fails. Torch before 2.6 does not do that.
    """
    if not hasattr(functorch, 'donated_buffer'):
        return
    functorch.donated_buffer = False
    # The cache on disk does not tell apart what was compiled either way: other processes' kernels
    # would overwrite what the second pass reads, and gradients be wrong without an error.
    compiler = getattr(torch.compiler, 'config', None)
    if compiler is None or not hasattr(compiler, 'cache_key_tag'):  # before torch 2.7
        from torch._inductor import config as inductor  # takes long to import

        inductor.fx_graph_cache = False
    elif _TAG not in compiler.cache_key_tag:
        compiler.cache_key_tag += _TAG


class Reached(NamedTuple):
    """What a loss depends on.

    Attributes:
        numbers: of the parameters in question.
        others: the other leaves.
        compiled: graphs that torch has compiled, and which of their outputs. Such a graph is one
            node: which of its parameters an output depends on cannot be told.
    """

    numbers: set[int]
    others: list[Tensor]
    compiled: dict[Node, set[int]]


def reached_parameters(loss: Tensor, index: Mapping[nn.Parameter, int]) -> Reached:
    """Which parameters a loss depends on, from its autograd graph.

    Args:
        loss: scalar with a graph.
        index: the parameters in question and their numbers.

    Raises:
        RuntimeError: the graph goes through a re-entrant activation checkpoint.
    """
    reached, nodes = Reached(set(), [], {}), graph_nodes([loss])
    for node in nodes:
        name = node.name()
        if name == _LEAF:
            variable = node.variable  # type: ignore[attr-defined]  # torch's Node does not list it
            if variable in index:
                reached.numbers.add(index[variable])
            else:
                reached.others.append(variable)
        elif name == _COMPILED:
            reached.compiled[node] = set()
        elif name == 'CheckpointFunctionBackward':
            raise RuntimeError(
                'the gradient of a single task cannot be taken through a re-entrant activation '
                'checkpoint: call torch.utils.checkpoint.checkpoint with use_reentrant=False, or '
                "suppress conflicts with level='features'"
            )
    if reached.compiled:
        edges = [(loss.grad_fn, loss.output_nr)]
        edges += [edge for node in nodes for edge in node.next_functions]
        for following, output in edges:
            if following in reached.compiled:
                reached.compiled[following].add(output)
    return reached
