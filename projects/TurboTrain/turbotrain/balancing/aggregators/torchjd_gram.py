"""TorchJD's aggregators, worked out on the K x K Gram matrix of the task gradients."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ...errors import SettingError
from .base import AGGREGATORS, Aggregator

__all__ = [
    'IMTLG',
    'MGDA',
    'AlignedMTL',
    'CAGrad',
    'ConFIG',
    'DualProj',
    'RandomOrderPCGrad',
    'TorchJDAggregator',
    'UPGrad',
]


class TorchJDAggregator(Aggregator):
    """An aggregator of the library TorchJD (Quinton and Rey, 2024).

    What is the same for all: the Gram matrix is scaled to a mean diagonal of 1 first, so that
    absolute thresholds inside the library mean the same for any loss scale; random numbers depend
    on ``seed`` and the number of the call only, so that processes agree and a resumed run goes on.

    Args:
        reduction: ``'mean'`` weighs as the paper does, where tasks that agree give their mean.
            ``'sum'`` (our choice) multiplies it by their number: tasks that agree give the plain
            sum, and a learning rate found without balancing stays right.
        seed: of random draws.
        kwargs: of TorchJD's class.

    Raises:
        ImportError: TorchJD, or the extra of it that the method needs, is not installed.
    """

    source = ''  # TorchJD's name
    extra: str | None = None  # what has to be installed beside it
    averages = True  # whether the paper's weights are those of a mean

    def __init__(
        self, reduction: Literal['sum', 'mean'] = 'sum', seed: int = 0, **kwargs: Any
    ) -> None:
        if reduction not in ('sum', 'mean'):
            raise SettingError(f"reduction is 'sum' or 'mean', not {reduction!r}")
        if reduction == 'mean' and not self.averages:
            raise SettingError(
                f"{type(self).__name__} sums in its paper: there is no reduction='mean'"
            )
        self.reduction, self.seed, self._calls = reduction, seed, 0
        self.inner = self._load(**kwargs)

    def _load(self, **kwargs: Any) -> Any:
        package = f'torchjd[{self.extra}]' if self.extra else 'torchjd'
        try:
            from torchjd import aggregation

            return getattr(aggregation, self.source)(**kwargs)
        except ImportError as error:
            raise ImportError(
                f"the aggregator {type(self).__name__} needs: pip install '{package}' ({error})"
            ) from error

    def __call__(self, gram: Tensor, tasks: Sequence[int] | None = None) -> Tensor:
        """(K, K) inner products of the task gradients to (K,) weights."""
        scale = gram.diagonal().mean()
        if not scale > 0:
            return gram.new_ones(len(gram))
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would reach the GPUs' generators too.
            torch.default_generator.manual_seed(self.seed + self._calls)
            weights = self._weights(gram / scale, list(tasks or range(len(gram))))
        self._calls += 1
        return weights * len(gram) if self.averages and self.reduction == 'sum' else weights

    def _weights(self, gram: Tensor, tasks: list[int]) -> Tensor:
        return self.inner.gramian_weighting(gram)

    def state_dict(self) -> dict:
        """How many results there were."""
        return dict(calls=self._calls)

    def load_state_dict(self, state: dict) -> None:
        """Go on from there."""
        self._calls = state['calls']


def square_root(gram: Tensor) -> Tensor:
    """(K, K) matrix whose rows have these inner products, for methods that take vectors.

    A method that does not depend on the choice of axes gives the same weights for these K numbers
    per task as for the P parameters.
    """
    values, vectors = torch.linalg.eigh(gram)
    return vectors * values.clamp(min=0).sqrt()


@AGGREGATORS.register_module()
class RandomOrderPCGrad(TorchJDAggregator):
    """:class:`PCGrad` that visits the other tasks in random order, as the paper does.

    Yu et al., NeurIPS 2020. It sums: there is no ``reduction='mean'``.
    """

    source, averages = 'PCGrad', False


@AGGREGATORS.register_module()
class CAGrad(TorchJDAggregator):
    r"""Conflict-averse gradient descent (Liu et al., NeurIPS 2021).

    .. math:: \max_d \min_i g_i \cdot d \quad\text{with } |d - g_0| \le c |g_0|, \ g_0
              \text{ the mean}

    Common code divides the result by 1 + c^2 besides; the paper's algorithm does not, nor this.

    Args:
        c: radius; 0.5 by default, as in the paper's larger experiments.
    """

    source, extra = 'CAGrad', 'cagrad'

    def __init__(self, c: float = 0.5, **kwargs: Any) -> None:
        super().__init__(c=c, **kwargs)


@AGGREGATORS.register_module()
class MGDA(TorchJDAggregator):
    r"""Multiple-gradient descent (Désidéri 2012; Sener and Koltun, NeurIPS 2018).

    The shortest vector in the convex hull of the task gradients:

    .. math:: \min_w |\sum_i w_i g_i|^2 \quad\text{with } w_i \ge 0, \sum_i w_i = 1
    """

    source = 'MGDA'


@AGGREGATORS.register_module()
class IMTLG(TorchJDAggregator):
    r"""Impartial multi-task learning, gradient part (Liu et al., ICLR 2021).

    The result has the same projection on every task's direction:

    .. math:: d \cdot \frac{g_i}{|g_i|} = d \cdot \frac{g_j}{|g_j|}, \quad \sum_i w_i = 1
    """

    source = 'IMTLG'


@AGGREGATORS.register_module()
class AlignedMTL(TorchJDAggregator):
    r"""Independent component alignment (Senushkin et al., CVPR 2023).

    With :math:`G G^T = V \Lambda V^T`:

    .. math:: w = \sqrt{\lambda_{min}} V \Lambda^{-1/2} V^T \mathbf{1} / K
    """

    source = 'AlignedMTL'


@AGGREGATORS.register_module()
class UPGrad(TorchJDAggregator):
    r"""Unconflicting projection of gradients (Quinton and Rey, 2024, "Jacobian Descent").

    The mean of the task gradients, each projected onto the dual cone of all: no task's loss rises.

    .. math:: \frac1K \sum_i \pi_C(g_i), \quad C = \{d : g_j \cdot d \ge 0\ \forall j\}
    """

    source, extra = 'UPGrad', 'quadprog_projector'


@AGGREGATORS.register_module()
class DualProj(TorchJDAggregator):
    r"""The mean, projected onto the dual cone (Lopez-Paz and Ranzato, NeurIPS 2017, "GEM").

    .. math:: \pi_C(\frac1K \sum_i g_i), \quad C = \{d : g_j \cdot d \ge 0\ \forall j\}
    """

    source, extra = 'DualProj', 'quadprog_projector'


@AGGREGATORS.register_module()
class ConFIG(TorchJDAggregator):
    r"""Conflict-free inverse gradients (Liu, Chu and Thuerey, ICLR 2025).

    .. math:: u = \frac{\hat G^+ \mathbf{1}}{|\hat G^+ \mathbf{1}|}, \quad
              d = \left(\sum_i g_i \cdot u\right) u

    with :math:`\hat G` the task gradients at unit length. It sums: there is no
    ``reduction='mean'``.
    """

    source, averages = 'ConFIG', False

    def _weights(self, gram: Tensor, tasks: list[int]) -> Tensor:
        rows = square_root(gram)
        return torch.linalg.lstsq(rows.T, self.inner(rows), driver='gelsd').solution
