"""TorchJD's aggregators that remember what they saw."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .base import AGGREGATORS
from .torchjd_gram import TorchJDAggregator, square_root

__all__ = ['GradVac', 'NashMTL']


@AGGREGATORS.register_module()
class GradVac(TorchJDAggregator):
    r"""Gradient vaccine (Wang et al., ICLR 2021).

    Where the cosine :math:`\phi_{ij}` of two tasks is below its running mean
    :math:`\hat\phi_{ij}`, task i's gradient is moved until the cosine is the mean:

    .. math:: g_i \leftarrow g_i + \frac{|g_i| (\hat\phi \sqrt{1 - \phi^2}
              - \phi \sqrt{1 - \hat\phi^2})}{|g_j| \sqrt{1 - \hat\phi^2}} g_j

    and the results are summed: there is no ``reduction='mean'``. The running means of tasks that
    are missing in a step wait for them.

    Args:
        beta: share of the newest cosine in the mean.
    """

    source, averages = 'GradVac', False

    def __init__(self, beta: float = 0.5, **kwargs: Any) -> None:
        super().__init__(beta=beta, **kwargs)
        self._means = torch.zeros(0, 0, dtype=torch.float64)

    def _weights(self, gram: Tensor, tasks: list[int]) -> Tensor:
        if max(tasks) >= len(self._means):
            grown = torch.zeros(max(tasks) + 1, max(tasks) + 1, dtype=torch.float64)
            grown[: len(self._means), : len(self._means)] = self._means
            self._means = grown
        index = torch.tensor(tasks)
        weighting = self.inner.gramian_weighting
        # TorchJD would forget everything whenever the number of tasks changes.
        weighting._phi_t = self._means[index][:, index]
        weighting._state_key = (len(gram), gram.dtype)
        weights = weighting(gram)
        self._means[index[:, None], index] = weighting._phi_t
        return weights

    def state_dict(self) -> dict:
        """The running means too."""
        return super().state_dict() | dict(means=self._means.clone())

    def load_state_dict(self, state: dict) -> None:
        """Go on from there."""
        super().load_state_dict(state)
        self._means = state['means'].cpu().clone()


@AGGREGATORS.register_module()
class NashMTL(TorchJDAggregator):
    r"""Multi-task learning as a bargaining game (Navon et al., ICML 2022).

    .. math:: G G^T w = 1 / w

    solved from the last solution on, for each set of tasks that take part by itself. The bound that
    the paper's code puts on the result's norm is left to the optimiser wrapper's ``clip_grad`` (our
    choice), and so there is no ``reduction``.

    Args:
        optim_niter: iterations of the solver.
    """

    source, extra, averages = 'NashMTL', 'nash_mtl', False

    def __init__(self, optim_niter: int = 20) -> None:
        self._niter = optim_niter
        self._games: dict[str, Any] = {}
        self._solutions: dict[str, Tensor] = {}
        super().__init__(n_tasks=1)

    def _weights(self, gram: Tensor, tasks: list[int]) -> Tensor:
        key = ','.join(map(str, tasks))
        if key not in self._games:
            game = self._load(n_tasks=len(gram), max_norm=0.0, optim_niter=self._niter).weighting
            if key in self._solutions:
                game.prvs_alpha = self._solutions[key].numpy()
            self._games[key] = game
        weights = self._games[key](square_root(gram))
        self._solutions[key] = torch.from_numpy(np.array(self._games[key].prvs_alpha))
        return weights

    def state_dict(self) -> dict:
        """The last solutions too."""
        return super().state_dict() | dict(solutions=dict(self._solutions))

    def load_state_dict(self, state: dict) -> None:
        """Go on from there."""
        super().load_state_dict(state)
        self._games = {}
        self._solutions = {key: value.cpu() for key, value in state['solutions'].items()}
