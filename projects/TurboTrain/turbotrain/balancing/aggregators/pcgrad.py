"""Gradient surgery."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import AGGREGATORS, Aggregator

__all__ = ['PCGrad']


@AGGREGATORS.register_module()
class PCGrad(Aggregator):
    r"""Projecting conflicting gradients (Yu et al., NeurIPS 2020, "Gradient Surgery").

    Each task's gradient loses its component along every other task's gradient that it conflicts
    with, where the other is always the original one:

    .. math:: g_i \leftarrow g_i - \frac{g_i \cdot g_j}{|g_j|^2} g_j
              \quad\text{if } g_i \cdot g_j < 0

    and the results are summed. With two tasks this is TurboTrain's suppressing step as we read it
    (the paper's exact projection is not public). With more tasks the paper visits the others in
    random order; here the order is that of the tasks (our choice; the random one is
    :class:`RandomOrderPCGrad`).
    """

    def __call__(self, gram: Tensor, tasks: Sequence[int] | None = None) -> Tensor:
        """(K, K) inner products of the task gradients to (K,) weights."""
        weights = torch.eye(len(gram), dtype=gram.dtype)
        for i, row in enumerate(weights):
            for j in range(len(gram)):
                inner = row @ gram[:, j]
                if i != j and inner < 0:
                    row[j] -= inner / gram[j, j]
        return weights.sum(dim=0)
