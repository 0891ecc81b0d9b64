"""Factors on the losses train as TorchJD's scalarizations do when they are trained by hand."""

import copy
import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from torchjd import scalarization

from tests.balancing.toys import ALWAYS, NEVER, TASKS, TwoTasks, train, wrapper
from turbotrain.balancing import LOSS_BALANCERS, FixedWeights

AB = ['a', 'b']
# Our settings, and TorchJD's object with the optimiser of its parameters.
CASES = {
    'UW': ({}, lambda: scalarization.UW(2), 0.01),
    'IMTLL': (dict(lr=0.1), lambda: scalarization.IMTLL(2), 0.1),
    'FAMO': ({}, lambda: scalarization.FAMO(2), None),
    'DWA': (dict(interval=2), scalarization.DWA, None),
    'STCH': (dict(mu=0.5), lambda: scalarization.STCH(0.5), None),
    'GeometricMean': ({}, scalarization.GeometricMean, None),
}


def by_hand(name: str, steps: int) -> list[torch.Tensor]:
    """The toy's parameters after training on one scalar, without factors."""
    model, (_, make, lr) = TwoTasks(), CASES[name]
    inner = make().double()
    weights = torch.optim.Adam(inner.parameters(), lr=lr) if lr else None
    forward, count, seen = model.forward, 0, []

    def scalar(**kwargs) -> dict:
        nonlocal count
        losses = forward(**kwargs)
        detection = losses['loss_box'] + sum(one.mean() for one in losses['loss_cls_a'])
        values = torch.stack([detection, losses['loss_path'].mean()]).double()
        if name == 'FAMO' and count > 1:
            inner(seen[-2])
            inner.update(seen[-1])
        seen.append(values.detach())
        if weights is not None and count:
            weights.step()
        if weights is not None:
            weights.zero_grad()
        if name == 'DWA' and count and count % 2 == 0:
            inner.step()
        count += 1
        return dict(loss=inner(values).float())

    model.forward = scalar
    return train(model, wrapper(model, OptimWrapper), steps)


@pytest.mark.parametrize('schedule', [NEVER, ALWAYS])
@pytest.mark.parametrize('name', CASES)
def test_training_is_that_of_the_scalarization(name, schedule):
    model = TwoTasks()
    balancer = dict(type=name, **CASES[name][0])
    # A sum of task gradients is the gradient of the sum.
    plain = dict(aggregator=dict(type='PlainSum', measure=True), schedule=schedule)
    optim_wrapper = wrapper(model, tasks=TASKS, balancer=balancer, **plain)
    after = train(model, optim_wrapper, 12)
    for a, b in zip(after, by_hand(name, 12), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    unbalanced = TwoTasks()
    other = train(unbalanced, wrapper(unbalanced, OptimWrapper), 12)
    assert any((a - b).abs().max() > 1e-4 for a, b in zip(after, other, strict=True))
    assert 'train/balance/detection' in optim_wrapper.message_hub.log_scalars


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


@pytest.mark.parametrize('name', CASES)
def test_a_task_without_a_finite_loss_counts_with_its_last(name):
    def balancer():
        return LOSS_BALANCERS.build(dict(type=name, tasks=AB, **CASES[name][0]))

    def feed(one, *batches: dict) -> dict:
        for batch in batches:
            found = one.weigh({key: torch.tensor(value) for key, value in batch.items()})
            one.learn(torch.device('cpu'))
        return found

    missing, repeated = balancer(), balancer()
    first = dict(a=2.0, b=0.5)
    found = feed(missing, first, dict(a=1.0), dict(a=0.5))
    expected = feed(repeated, first, dict(a=1.0, b=0.5), dict(a=0.5, b=0.5))
    assert found == dict(a=expected['a'])

    before = copy.deepcopy(missing.state_dict())
    broken = missing.weigh(dict(a=torch.tensor(1.0), b=torch.tensor(math.inf)))
    assert all(math.isfinite(factor) for factor in broken.values())
    missing.learn(torch.device('cpu'))
    for a, b in zip(flat(before), flat(missing.state_dict()), strict=True):
        assert torch.equal(a, b), 'nothing is learned from an infinite loss'
    assert missing.weigh({}) == {}


@pytest.mark.parametrize('name', CASES)
def test_nothing_to_learn_from_is_no_task_done_well(name):
    """Heads give a loss of 0 where there is no object; it counts with the last one."""
    empty, repeated = (
        LOSS_BALANCERS.build(dict(type=name, tasks=AB, **CASES[name][0])) for _ in range(2)
    )
    for one, b in ((empty, 0.0), (repeated, 0.5)):
        for a, second in ((2.0, 0.5), (1.7, b), (1.6, 0.4)):
            losses = dict(a=torch.tensor(a), b=torch.tensor(second))
            found = one.weigh(losses)
            assert all(math.isfinite(factor) for factor in found.values())
            one.learn(torch.device('cpu'))
    for a, b in zip(flat(empty.state_dict()), flat(repeated.state_dict()), strict=True):
        assert torch.equal(a, b)


def flat(state) -> list[torch.Tensor]:
    if isinstance(state, dict):
        return [tensor for value in state.values() for tensor in flat(value)]
    if isinstance(state, (list, tuple)):
        return [tensor for value in state for tensor in flat(value)]
    return [state] if isinstance(state, torch.Tensor) else []
