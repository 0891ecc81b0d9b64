"""From the task gradients' Gram matrix to the weights they are added up with."""

import torch
from mmengine.registry import Registry
from torch import Tensor

__all__ = ['AGGREGATORS', 'PCGrad', 'PlainSum']

AGGREGATORS = Registry('gradient aggregator')


@AGGREGATORS.register_module()
class PlainSum:
    """The gradient of the summed losses: every weight is 1."""

    def __call__(self, gram: Tensor) -> Tensor:
        """(K, K) inner products of the task gradients to (K,) weights."""
        return gram.new_ones(len(gram))


@AGGREGATORS.register_module()
class PCGrad:
    r"""Projecting conflicting gradients (Yu et al., NeurIPS 2020, "Gradient Surgery").

    Each task's gradient loses its component along every other task's gradient that it conflicts
    with, where the other is always the original one:

    .. math:: g_i \leftarrow g_i - \frac{g_i \cdot g_j}{|g_j|^2} g_j
              \quad\text{if } g_i \cdot g_j < 0

    and the results are summed. With two tasks this is TurboTrain's suppressing step as we read it
    (the paper's exact projection is not public). With more tasks the paper visits the others in
    random order; here the order is that of the tasks, so that all processes agree (our choice).

    The projections stay in the span of the task gradients: they are worked out on the Gram matrix
    and never touch a parameter-sized vector.
    """

    def __call__(self, gram: Tensor) -> Tensor:
        """(K, K) inner products of the task gradients to (K,) weights."""
        weights = torch.eye(len(gram), dtype=gram.dtype)
        for i, row in enumerate(weights):
            for j in range(len(gram)):
                inner = row @ gram[:, j]
                if i != j and inner < 0:
                    row[j] -= inner / gram[j, j]
        return weights.sum(dim=0)
