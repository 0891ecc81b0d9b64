"""Balancing by one factor per task's loss, for comparison with balancing gradients."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.registry import Registry
from torch import Tensor

from ..errors import SettingError
from .processes import average

__all__ = [
    'LOSS_BALANCERS',
    'DynamicWeightAverage',
    'FixedWeights',
    'GradNorm',
    'LossBalancer',
    'UncertaintyWeighting',
]

LOSS_BALANCERS = Registry('loss balancer')


class LossBalancer:
    """A factor for each task's loss, in free and in suppressing updates.

    What is learned depends on numbers that all processes have in common, so that they learn the
    same, on the CPU in float64. Gradients of the factors are written down, not derived: there are K
    of them.

    Args:
        tasks: the tasks' names.
    """

    learns = True

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = list(tasks)
        self.weights = torch.ones(len(self.tasks), dtype=torch.float64)
        self._seen = torch.zeros(2, len(self.tasks), dtype=torch.float64)  # losses, how many

    def weigh(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task -> loss of a forward pass, times its factor."""
        if self.learns:
            for k, task in enumerate(self.tasks):
                if task in losses:
                    self._seen[:, k] += torch.tensor([float(losses[task].detach()), 1.0]).double()
        weights = dict(zip(self.tasks, self.weights.tolist(), strict=True))
        return {task: weights[task] * loss for task, loss in losses.items()}

    def learn(self, norms: Tensor | None, device: torch.device) -> None:
        """Learn from the losses weighed since the last time, of all processes.

        Nothing is learned from losses that are not finite.

        Args:
            norms: as of :meth:`update`.
            device: where processes can exchange numbers.
        """
        sums, counts = average(self._seen.to(device)).cpu()
        self._seen = torch.zeros_like(self._seen)
        if bool(sums.isfinite().all()):
            self.update(sums / counts, norms)

    def update(self, losses: Tensor, norms: Tensor | None) -> None:
        """Learn from an update.

        Args:
            losses: (K,) the tasks' losses before weighing, averaged over all processes; NaN for
                a task that was missing on all.
            norms: (K,) norms of the weighed losses' gradients where tasks meet, times any common
                factor; None in a free update.
        """

    def state_dict(self) -> dict:
        """Tensors and numbers that the next factors depend on."""
        return dict(weights=self.weights.clone())

    def load_state_dict(self, state: dict) -> None:
        """Go on from where :meth:`state_dict` was called."""
        self.weights = state['weights'].cpu().clone()


@LOSS_BALANCERS.register_module()
class FixedWeights(LossBalancer):
    """Factors set by hand.

    Args:
        tasks: the tasks' names.
        weights: task -> factor; 1 for those not named.

    Raises:
        ValueError: a factor for a task that there is not.
    """

    learns = False

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float]) -> None:
        super().__init__(tasks)
        if set(weights) - set(tasks):
            raise SettingError(f'weights of {sorted(set(weights) - set(tasks))}; tasks are {tasks}')
        self._given = [weights.get(task, 1.0) for task in tasks]
        self.weights = torch.tensor(self._given, dtype=torch.float64)

    def load_state_dict(self, state: dict) -> None:
        """The config decides, not the checkpoint."""


@LOSS_BALANCERS.register_module()
class UncertaintyWeighting(LossBalancer):
    r"""Weighing by learned task uncertainty (Kendall, Gal and Cipolla, CVPR 2018).

    .. math:: \sum_k \frac{L_k}{2 e^{s_k}} + \frac{s_k}{2}, \quad
              \frac{\partial}{\partial s_k} = \frac12 - \frac{L_k}{2 e^{s_k}}

    Args:
        tasks: the tasks' names.
        lr: of Adam on the s; our choice.
        start: of all s; -0.5 as in common implementations.
    """

    def __init__(self, tasks: Sequence[str], lr: float = 0.01, start: float = -0.5) -> None:
        super().__init__(tasks)
        self.log_variances = torch.full_like(self.weights, start).requires_grad_()
        self._optimizer = torch.optim.Adam([self.log_variances], lr=lr)
        self._set_weights()

    def _set_weights(self) -> None:
        self.weights = 0.5 * torch.exp(-self.log_variances.detach())

    def update(self, losses: Tensor, norms: Tensor | None) -> None:
        """One step of Adam; a missing task's s stays."""
        gradient = 0.5 - self.weights * losses
        self.log_variances.grad = torch.where(gradient.isnan(), 0.0, gradient)
        before = self.log_variances.detach().clone()
        self._optimizer.step()
        with torch.no_grad():
            self.log_variances.copy_(
                torch.where(gradient.isnan(), before, self.log_variances.detach())
            )
        self._set_weights()

    def state_dict(self) -> dict:
        """The s and Adam's moments."""
        return dict(
            log_variances=self.log_variances.detach().clone(),
            optimizer=self._optimizer.state_dict(),
        )

    def load_state_dict(self, state: dict) -> None:
        """Go on from there."""
        with torch.no_grad():
            self.log_variances.copy_(state['log_variances'])
        self._optimizer.load_state_dict(state['optimizer'])
        self._set_weights()


@LOSS_BALANCERS.register_module()
class DynamicWeightAverage(LossBalancer):
    r"""Weighing by how fast losses fall (Liu, Johns and Davison, CVPR 2019, "DWA").

    .. math:: w_k = K \operatorname{softmax}_k(r_k / T), \quad r_k = L_k(t - 1) / L_k(t - 2)

    Args:
        tasks: the tasks' names.
        temperature: T; 2 in the paper.
        interval: updates whose mean loss is one L(t). The paper takes an epoch; an optimiser
            wrapper knows of none, and 100 is our choice.
    """

    def __init__(self, tasks: Sequence[str], temperature: float = 2.0, interval: int = 100) -> None:
        super().__init__(tasks)
        self.temperature, self.interval = temperature, interval
        self._sums = torch.zeros(2, len(self.tasks), dtype=torch.float64)  # losses, how many
        self._updates = 0
        self._last = torch.full_like(self.weights, torch.nan)

    def update(self, losses: Tensor, norms: Tensor | None) -> None:
        """Gather, and weigh anew at the end of an interval."""
        self._sums += torch.stack([losses.nan_to_num(), (~losses.isnan()).double()])
        self._updates += 1
        if self._updates % self.interval:
            return
        means = self._sums[0] / self._sums[1]
        ratios = (means / self._last).nan_to_num(nan=1.0, posinf=1.0)
        self.weights = len(self.tasks) * torch.softmax(ratios / self.temperature, dim=0)
        self._last = torch.where(means.isnan(), self._last, means)
        self._sums = torch.zeros_like(self._sums)

    def state_dict(self) -> dict:
        """What was gathered."""
        return super().state_dict() | dict(
            sums=self._sums.clone(), updates=self._updates, last=self._last.clone()
        )

    def load_state_dict(self, state: dict) -> None:
        """Go on from there."""
        super().load_state_dict(state)
        self._sums, self._updates = state['sums'].cpu().clone(), state['updates']
        self._last = state['last'].cpu().clone()


@LOSS_BALANCERS.register_module()
class GradNorm(LossBalancer):
    r"""Weighing until gradients are alike (Chen et al., ICML 2018).

    .. math:: \min_w \sum_k \left| G_k - \bar G r_k^\alpha \right|, \quad
              G_k = |\nabla w_k L_k|, \ r_k \propto L_k / L_k(0)

    The paper measures G at one layer; here it is where tasks meet (the shared parameters, or the
    features), in suppressing updates only; w is K softmax(u), and the gradient is divided by the
    mean G, so that ``lr`` fits any loss (all our choice).

    Args:
        tasks: the tasks' names.
        alpha: how strongly tasks that learn slowly are favoured; 1.5 in the paper.
        lr: of gradient descent on u; our choice.
    """

    def __init__(self, tasks: Sequence[str], alpha: float = 1.5, lr: float = 0.025) -> None:
        super().__init__(tasks)
        self.alpha, self.lr = alpha, lr
        self._logits = torch.zeros_like(self.weights)
        self._first = torch.full_like(self.weights, torch.nan)

    def update(self, losses: Tensor, norms: Tensor | None) -> None:
        """One step of gradient descent."""
        # A task may begin with nothing to learn from; neither 0 nor NaN is a start.
        self._first = torch.where(self._first > 0, self._first, losses)
        if norms is None:
            return
        known = ~losses.isnan() & (norms > 0) & (self._first > 0)
        if not known.any():
            return
        progress = torch.where(known, losses / self._first, torch.nan)
        rates = progress / progress.nanmean()
        mean = norms[known].mean()
        by_weight = torch.sign(norms - mean * rates**self.alpha) * norms / self.weights / mean
        by_weight = torch.where(known, by_weight, 0.0)
        share = (self.weights * by_weight).sum() / len(self.tasks)
        self._logits -= self.lr * self.weights * torch.where(known, by_weight - share, 0.0)
        self.weights = len(self.tasks) * torch.softmax(self._logits, dim=0)

    def state_dict(self) -> dict:
        """The u and the first losses."""
        return super().state_dict() | dict(logits=self._logits.clone(), first=self._first.clone())

    def load_state_dict(self, state: dict) -> None:
        """Go on from there."""
        super().load_state_dict(state)
        self._logits = state['logits'].cpu().clone()
        self._first = state['first'].cpu().clone()
