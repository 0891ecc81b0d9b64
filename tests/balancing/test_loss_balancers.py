import math

import pytest
import torch
from mmengine.optim import OptimWrapper

from tests.balancing.toys import ALWAYS, NEVER, TASKS, TwoTasks, train, wrapper
from turbotrain.balancing import (
    LOSS_BALANCERS,
    DynamicWeightAverage,
    FixedWeights,
    GradNorm,
    UncertaintyWeighting,
)

AB = ['a', 'b']


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize('schedule', [NEVER, ALWAYS])
def test_fixed_weights_are_factors_on_the_losses(schedule):
    ours, stock = TwoTasks(), TwoTasks()
    balancer = dict(type='FixedWeights', weights=dict(prediction=0.25))
    plain = dict(aggregator=dict(type='PlainSum', measure=True), schedule=schedule)
    after = train(ours, wrapper(ours, tasks=TASKS, balancer=balancer, **plain))
    forward = stock.forward
    stock.forward = lambda **kwargs: {
        key: 0.25 * value if key == 'loss_path' else value
        for key, value in forward(**kwargs).items()
    }
    for a, b in zip(after, train(stock, wrapper(stock, OptimWrapper)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match='walking'):
        FixedWeights(AB, dict(walking=1.0))


def test_uncertainty_follows_the_gradient_of_its_loss():
    balancer = UncertaintyWeighting(AB)
    s = torch.full((2,), -0.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([s], lr=0.01)
    for step in range(20):
        losses = doubles(2.0 + step, 0.1)
        balancer.update(losses, None)
        optimizer.zero_grad()
        (losses / (2 * s.exp()) + s / 2).sum().backward()
        optimizer.step()
        torch.testing.assert_close(balancer.weights, 0.5 * torch.exp(-s.detach()))
    before = balancer.weights.clone()
    balancer.update(doubles(float('nan'), 5.0), None)
    assert balancer.weights[0] == before[0]
    assert balancer.weights[1] != before[1]


def test_dwa_favours_the_loss_that_falls_slowly():
    balancer = DynamicWeightAverage(AB, interval=2)
    for step in range(4):
        balancer.update(doubles(1.0, 0.5 ** (step // 2)), None)
    expected = 2 * torch.softmax(doubles(1.0, 0.5) / 2, dim=0)
    torch.testing.assert_close(balancer.weights, expected)


def test_gradnorm_evens_out_gradients_and_favours_slow_tasks():
    def settle(losses_at) -> torch.Tensor:
        balancer = GradNorm(AB, lr=0.01)
        for step in range(600):
            norms = balancer.weights * doubles(4.0, 1.0)
            balancer.update(losses_at(step), norms)
        assert abs(float(balancer.weights.sum()) - 2) < 1e-9
        return balancer.weights * doubles(4.0, 1.0)

    even = settle(lambda step: doubles(1.0, 1.0))
    assert abs(even[0] / even[1] - 1) < 0.1
    slow = settle(lambda step: doubles(1.0, 1.0 if step == 0 else 0.5))
    assert slow[0] / slow[1] > 1.5


def test_gradnorm_starts_late_where_a_task_begins_with_nothing_to_learn_from():
    balancer = GradNorm(AB)
    for first in (0.0, math.nan, 1.0):
        balancer.update(doubles(2.0, first), doubles(10.0, 1.0))
    for _ in range(20):
        balancer.update(doubles(2.0, 1.0), balancer.weights * doubles(10.0, 1.0))
    assert balancer.weights[0] < 0.9 < 1.1 < balancer.weights[1]


@pytest.mark.parametrize('name', ['UncertaintyWeighting', 'DynamicWeightAverage', 'GradNorm'])
def test_learned_weights_move_and_reach_the_losses(name):
    model, stock = TwoTasks(), TwoTasks()
    balancer = dict(type=name) | (dict(interval=2) if name == 'DynamicWeightAverage' else {})
    optim_wrapper = wrapper(model, tasks=TASKS, schedule=ALWAYS, balancer=balancer)
    start = LOSS_BALANCERS.build(balancer | dict(tasks=list(TASKS))).weights
    after = train(model, optim_wrapper)
    assert not torch.equal(optim_wrapper.balancer.weights, start)
    assert 'train/balance/detection' in optim_wrapper.message_hub.log_scalars
    plain = train(stock, wrapper(stock, tasks=TASKS, schedule=ALWAYS))
    assert not torch.equal(after[-1], plain[-1])
