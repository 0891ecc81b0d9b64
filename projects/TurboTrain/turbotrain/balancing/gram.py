"""Inner products of task gradients, and their weighted sum."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .aggregators import Aggregator

__all__ = ['combine_rows', 'cosines', 'gram_matrix']

_CHUNK = 2**18  # columns at a time: double precision for all would take twice the rows' memory


def gram_matrix(blocks: Sequence[Tensor]) -> Tensor:
    """Inner products of K vectors.

    Args:
        blocks: (K, any number of columns) each, at least one; the vectors are cut into them.

    Returns:
        (K, K) float64, on the CPU.
    """
    chunks = (chunk.double() for block in blocks for chunk in block.split(_CHUNK, dim=1))
    return sum(chunk @ chunk.T for chunk in chunks).cpu()


def cosines(gram: Tensor) -> Tensor:
    """(K, K) inner products to (K, K) cosines; 0 where a gradient is 0, and 1 on the diagonal."""
    norms = gram.diagonal().clamp(min=0).sqrt()
    product = norms[:, None] * norms
    cosine = torch.where(product > 0, gram / product, torch.zeros_like(gram))
    return cosine.clamp(-1, 1).fill_diagonal_(1.0)


def combine_rows(
    rows: Tensor, aggregator: Aggregator, weights: Tensor, tasks: Sequence[int]
) -> Tensor:
    """Aggregate the rows into the first one, in place.

    Args:
        rows: (K, P).
        aggregator: whose method of mixing rows it is.
        weights: (number of tasks,) of the tasks that take part.
        tasks: their numbers.

    Returns:
        (P,): ``rows[0]``.
    """
    # Infinities have to reach the gradient for a loss scaler to see them: they are added up.
    if aggregator.elementwise and bool(weights.isfinite().all()):
        for chunk in rows.split(_CHUNK, dim=1):
            chunk[0] = aggregator.mix(chunk[list(tasks)])
        return rows[0]
    factors = [0.0] * len(rows)
    for task, weight in zip(tasks, weights.tolist(), strict=True):
        factors[task] = weight
    result = rows[0].mul_(factors[0])
    for k in tasks:
        if k > 0:
            result.add_(rows[k], alpha=factors[k])
    return result
