"""Balancing by one factor per task's loss, for comparison with balancing gradients."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import Registry
from torch import Tensor

from ..errors import SettingError
from .processes import average

__all__ = [
    'DWA',
    'FAMO',
    'IMTLL',
    'LOSS_BALANCERS',
    'STCH',
    'UW',
    'FixedWeights',
    'GeometricMean',
    'LossBalancer',
]

LOSS_BALANCERS = Registry('loss balancer')


class LossBalancer:
    r"""Train on a scalarization of the task losses, one of the library TorchJD.

    .. math:: \nabla S(L_1 \dots L_K) = \sum_k w_k \nabla L_k, \quad
              w_k = \frac{\partial S}{\partial L_k}

    The factors :math:`w_k` are those of the process's own losses. What the scalarization learns
    depends on losses averaged over all processes, so that all learn the same; it is done on the
    CPU, in float64. A task that has no finite loss in a step counts with its last one, and so does
    one whose loss is exactly 0, as heads give it where there is nothing to learn from.

    Args:
        tasks: the tasks' names.
        lr: of Adam on the scalarization's parameters, if it has any; our choice.
        kwargs: of TorchJD's class.

    Raises:
        ImportError: TorchJD is not installed.
    """

    source = ''  # TorchJD's name
    per_task = False  # whether TorchJD's class takes the number of tasks
    remembers: tuple[str, ...] = ()  # what TorchJD's class keeps beside parameters

    def __init__(self, tasks: Sequence[str], lr: float = 0.01, **kwargs: Any) -> None:
        try:
            from torchjd import scalarization
        except ImportError as error:
            raise ImportError(
                f"the balancer {type(self).__name__} needs: pip install 'torchjd>=0.18' ({error})"
            ) from error
        self.tasks = list(tasks)
        counts = (len(self.tasks),) if self.per_task else ()
        self.inner = getattr(scalarization, self.source)(*counts, **kwargs).double()
        parameters = [*self.inner.parameters()]
        self._optimizer = torch.optim.Adam(parameters, lr=lr) if parameters else None
        self._last = torch.ones(len(self.tasks), dtype=torch.float64)
        self._seen = torch.zeros(2, len(self.tasks), dtype=torch.float64)  # losses, how many

    def weigh(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """Task -> factor on its loss of a forward pass."""
        if not losses:
            return {}
        rows = torch.tensor([self.tasks.index(task) for task in losses])
        found = torch.stack([loss.detach().double() for loss in losses.values()]).cpu()
        counted = found != 0
        seen = torch.stack([found, counted.double()])
        self._seen += torch.zeros_like(self._seen).index_copy(1, rows, seen)
        usable = torch.where(counted & found.isfinite(), found, self._last[rows])
        factors = self.factors(self._last.index_copy(0, rows, usable))
        return dict(zip(losses, factors[rows].tolist(), strict=True))

    def factors(self, losses: Tensor) -> Tensor:
        """(K,) derivatives of the scalarization by the losses (K,); nothing is learned."""
        values = losses.detach().requires_grad_()
        # Some scalarizations take note of all that they are called with.
        return torch.autograd.grad(copy.deepcopy(self.inner)(values), values)[0]

    def learn(self, device: torch.device) -> None:
        """Learn from the losses weighed since the last time, of all processes.

        Nothing is learned from losses that are not finite.

        Args:
            device: where processes can exchange numbers.
        """
        sums, counts = average(self._seen.to(device)).cpu()
        self._seen = torch.zeros_like(self._seen)
        if bool(sums.isfinite().all()):
            self._last = torch.where(counts > 0, sums / counts, self._last)
            self.update(self._last)

    def update(self, losses: Tensor) -> None:
        """Learn from an update's losses (K,), averaged over all processes."""
        total = self.inner(losses)
        if self._optimizer is not None:
            self._optimizer.zero_grad()
            total.backward()
            self._optimizer.step()

    def state_dict(self) -> dict:
        """Tensors and numbers that the next factors depend on."""
        kept = {name: getattr(self.inner, name) for name in self.remembers}
        state = dict(last=self._last, inner=dict(self.inner.state_dict()), kept=kept)
        if self._optimizer is not None:
            state['optimizer'] = self._optimizer.state_dict()
        return copy.deepcopy(state)

    def load_state_dict(self, state: dict) -> None:
        """Go on from where :meth:`state_dict` was called."""
        # mmengine loads checkpoints to the device it trains on.
        state = _on_cpu(state)
        self._last = state['last']
        self.inner.load_state_dict(state['inner'])
        for name in self.remembers:
            setattr(self.inner, name, state['kept'][name])
        if self._optimizer is not None:
            self._optimizer.load_state_dict(state['optimizer'])


def _on_cpu(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {key: _on_cpu(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [_on_cpu(value) for value in state]
    return state.cpu().clone() if isinstance(state, Tensor) else state


@LOSS_BALANCERS.register_module()
class FixedWeights(LossBalancer):
    """Factors set by hand.

    Args:
        tasks: the tasks' names.
        weights: task -> factor; 1 for those not named.

    Raises:
        SettingError: a factor for a task that there is not.
    """

    source = 'Constant'

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float]) -> None:
        if set(weights) - set(tasks):
            raise SettingError(f'weights of {sorted(set(weights) - set(tasks))}; tasks are {tasks}')
        given = [weights.get(task, 1.0) for task in tasks]
        super().__init__(tasks, weights=torch.tensor(given, dtype=torch.float64))


@LOSS_BALANCERS.register_module()
class UW(LossBalancer):
    r"""Weighing by learned task uncertainty (Kendall, Gal and Cipolla, CVPR 2018).

    .. math:: S = \sum_k \frac{L_k}{2 e^{s_k}} + \frac{s_k}{2}

    s starts at 0, as TorchJD's; LibMTL's starts at -0.5.
    """

    source, per_task = 'UW', True


@LOSS_BALANCERS.register_module()
class IMTLL(LossBalancer):
    r"""Impartial multi-task learning, loss part (Liu et al., ICLR 2021).

    .. math:: S = \sum_k e^{s_k} L_k - s_k
    """

    source, per_task = 'IMTLL', True


@LOSS_BALANCERS.register_module()
class DWA(LossBalancer):
    r"""Weighing by how fast losses fall (Liu, Johns and Davison, CVPR 2019).

    .. math:: w_k = K \operatorname{softmax}_k(r_k / T), \quad r_k = L_k(t - 1) / L_k(t - 2)

    Args:
        tasks: the tasks' names.
        temperature: T; 2 in the paper.
        interval: updates whose mean loss is one L(t). The paper takes an epoch; an optimiser
            wrapper knows of none, and 100 is our choice.
    """

    source, remembers = 'DWA', ('_loss_sum', '_n_batches', '_previous_averages')

    def __init__(self, tasks: Sequence[str], temperature: float = 2.0, interval: int = 100) -> None:
        super().__init__(tasks, temperature=temperature)
        self.interval = interval

    def update(self, losses: Tensor) -> None:
        """Gather, and weigh anew at the end of an interval."""
        super().update(losses)
        if self.inner._n_batches == self.interval:
            self.inner.step()


@LOSS_BALANCERS.register_module()
class FAMO(LossBalancer):
    r"""All losses fall at about the same rate (Liu, Feng, Stone and Liu, NeurIPS 2023).

    .. math:: S = c \sum_k z_k \log L_k, \quad z = \operatorname{softmax}(u), \quad
              c = 1 / \sum_k (z_k / L_k)

    The paper learns u from the losses of the same batch before and after an update; here they are
    those of one batch and of the next, so that no batch is evaluated twice (our choice).

    Args:
        tasks: the tasks' names.
        lr: of Adam on u; 0.025 as in the paper.
        weight_decay: of u.
    """

    source, per_task = 'FAMO', True
    remembers = ('_prev_losses',)

    def __init__(self, tasks: Sequence[str], lr: float = 0.025, weight_decay: float = 1e-3) -> None:
        super().__init__(tasks, weight_decay=weight_decay)
        self._optimizer = torch.optim.Adam(
            self.inner.parameters(), lr=lr, weight_decay=weight_decay
        )
        self.inner._optimizer = self._optimizer

    def update(self, losses: Tensor) -> None:
        """One step of Adam."""
        if self.inner._prev_losses is not None:
            self.inner.update(losses)
        self.inner(losses)


@LOSS_BALANCERS.register_module()
class STCH(LossBalancer):
    r"""Smooth Tchebycheff: the largest loss counts most (Lin et al., ICML 2024).

    .. math:: S = \mu \log \sum_k e^{L_k / (K \mu)}

    Args:
        tasks: the tasks' names.
        mu: smoothness; towards 0 only the largest loss counts. 0.1 is our choice.
    """

    source = 'STCH'

    def __init__(self, tasks: Sequence[str], mu: float = 0.1) -> None:
        super().__init__(tasks, mu=mu)


@LOSS_BALANCERS.register_module()
class GeometricMean(LossBalancer):
    r"""The geometric mean of the losses (Chennupati et al., CVPR Workshops 2019)."""

    source = 'GeometricMean'
