"""Gradient sign dropout."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .base import AGGREGATORS
from .torchjd_gram import TorchJDAggregator

__all__ = ['GradDrop']


@AGGREGATORS.register_module()
class GradDrop(TorchJDAggregator):
    r"""Just pick a sign (Chen et al., NeurIPS 2020).

    Every value of the gradient keeps the tasks' positive parts with probability
    :math:`P = \frac12 (1 + \sum_i g_i / \sum_i |g_i|)`, and the negative ones otherwise; what is
    kept is summed: there is no ``reduction='mean'``. The one method here that needs the gradients
    themselves.
    """

    source, averages, elementwise = 'GradDrop', False, True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._chunks = 0

    def __call__(self, gram: Tensor, tasks: Sequence[int] | None = None) -> Tensor:
        """Begin a result; ones, as no task counts more than another."""
        self._calls += 1
        self._chunks = 0
        return gram.new_ones(len(gram))

    def mix(self, rows: Tensor) -> Tensor:
        """(K, P) some columns of the task gradients to (P,)."""
        device = rows.device
        generator = (
            torch.cuda.default_generators[device.index] if rows.is_cuda else torch.default_generator
        )
        with torch.random.fork_rng(devices=[device] if rows.is_cuda else []):
            generator.manual_seed(hash((self.seed, self._calls, self._chunks)) % 2**63)
            mixed = self.inner(rows)
        self._chunks += 1
        # 0 / 0 where no task has a gradient.
        return mixed.nan_to_num(nan=0.0)
