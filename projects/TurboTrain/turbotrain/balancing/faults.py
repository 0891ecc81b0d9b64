"""Whose gradient is not finite."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

__all__ = ['all_finite', 'faulty_tasks', 'non_finite_gradients']


def non_finite_gradients(parameters: Iterable[nn.Parameter]) -> list[int]:
    """Numbers of the parameters whose ``.grad`` holds a NaN or an infinity."""
    there = [(i, _values(p.grad)) for i, p in enumerate(parameters) if p.grad is not None]
    there = [(i, gradient) for i, gradient in there if gradient.numel()]
    if not there:
        return []
    # The largest value, not the sum of squares, which may overflow by itself.
    largest = torch._foreach_norm([gradient for _, gradient in there], float('inf'))
    finite = torch.stack([value.float() for value in largest]).isfinite().tolist()
    return [i for (i, _), good in zip(there, finite, strict=True) if not good]


def _values(gradient: Tensor) -> Tensor:
    """What a gradient stores: an embedding's may be of the rows alone that were looked up."""
    return gradient._values() if gradient.is_sparse else gradient


def all_finite(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether every gradient is finite."""
    return not non_finite_gradients(parameters)


def faulty_tasks(
    parameters: Sequence[nn.Parameter], names: Sequence[str], layout: Tensor | None
) -> list[str]:
    """Tasks whose gradient is not finite, told by the parameters that they alone use.

    Args:
        parameters: all that are optimised, with ``.grad`` set.
        names: of all tasks.
        layout: (K, number of parameters) bool, which task uses which parameter, if known.

    Returns:
        None of them if all is finite; all of them if it cannot be told.
    """
    bad = non_finite_gradients(parameters)
    if not bad:
        return []
    if layout is None or layout.shape != (len(names), len(parameters)):
        return list(names)
    users = layout[:, bad]
    alone = users[:, users.sum(dim=0) == 1].any(dim=1).tolist()
    return [name for name, own in zip(names, alone, strict=True) if own] or list(names)
