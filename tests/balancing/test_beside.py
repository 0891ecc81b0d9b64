"""What others do beside the optimiser wrapper: their gradients, freezes, optimisers and totals."""

import collections

import pytest
import torch
from mmengine.optim import OptimWrapper

from tests.balancing.toys import FEATURES, MEASURED, NEVER, TASKS, TwoTasks
from turbotrain.balancing import ConflictSuppressingOptimWrapper
from turbotrain.errors import SettingError

LEVELS = [dict(schedule=NEVER), MEASURED, MEASURED | FEATURES]


def batches(count: int) -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    return [dict(x=torch.randn(5, 4, generator=generator)) for _ in range(count)]


def wrapped(model: TwoTasks, kwargs: dict | None, **more: int):
    """The stock wrapper, or ours with its settings."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    if kwargs is None:
        return OptimWrapper(optimizer, **more)
    return ConflictSuppressingOptimWrapper(optimizer=optimizer, tasks=TASKS, **kwargs, **more)


def trained(model: TwoTasks, kwargs: dict | None, steps: int) -> TwoTasks:
    wrapper = wrapped(model, kwargs)
    for batch in batches(steps):
        model.train_step(batch, wrapper)
    return model


def assert_as_stock(run, kwargs: dict) -> None:
    expected, found = run(None), run(kwargs)
    for one, other in zip(expected.parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize('kwargs', LEVELS)
@pytest.mark.parametrize('freezes', [True, False])
@pytest.mark.parametrize('at', [4, 6])
def test_freezing_keeps_what_an_update_has_gathered(kwargs, freezes, at):
    def run(kwargs: dict | None) -> TwoTasks:
        model = TwoTasks()
        model.trunk[0].requires_grad_(freezes)
        wrapper = wrapped(model, kwargs, accumulative_counts=4)
        wrapper.initialize_count_status(model, 0, 8)
        for i, batch in enumerate(batches(8)):
            if i == at:
                model.trunk[0].requires_grad_(not freezes)
            model.train_step(batch, wrapper)
        return model

    assert_as_stock(run, kwargs)


class WithPenalty(TwoTasks):
    """A penalty with a backward pass of its own."""

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict:
        self.trunk(data['x']).square().mean().backward()
        return super().train_step(data, optim_wrapper)


@pytest.mark.parametrize('kwargs', LEVELS)
def test_gradients_that_are_there_already_stay(kwargs):
    assert_as_stock(lambda kwargs: trained(WithPenalty(), kwargs, 5), kwargs)


@pytest.mark.parametrize('kwargs', LEVELS)
def test_hooks_on_gradients_are_called(kwargs):
    def run(kwargs: dict | None) -> TwoTasks:
        model = TwoTasks()

        def shrink(parameter: torch.Tensor) -> None:
            parameter.grad *= 0.1

        model.trunk[0].weight.register_post_accumulate_grad_hook(shrink)
        return trained(model, kwargs, 3)

    assert_as_stock(run, kwargs)


def test_an_optimiser_that_holds_only_a_part_is_refused_by_name():
    model = TwoTasks()
    wrapper = ConflictSuppressingOptimWrapper(
        optimizer=torch.optim.SGD(model.trunk.parameters(), lr=0.05), tasks=TASKS, **MEASURED
    )
    with pytest.raises(SettingError, match=r'does not hold (box|path)\.\w+ and others'):
        model.train_step(batches(1)[0], wrapper)


class Ramp(TwoTasks):
    """Weighs a loss otherwise after some steps, where the wrapper cannot see it."""

    step = 0

    def parse_losses(self, losses: dict) -> tuple:
        self.step += 1
        weight = 1.0 if self.step < 3 else 0.1
        return super().parse_losses(losses | dict(loss_path=weight * losses['loss_path']))


class Regularised(TwoTasks):
    """Adds less than a hundredth of the losses."""

    def parse_losses(self, losses: dict) -> tuple:
        total, log = super().parse_losses(losses)
        return total + 1e-2 * self.trunk[3].weight.square().sum(), log


@pytest.mark.parametrize('kind', [Ramp, Regularised])
@pytest.mark.parametrize('level', [{}, FEATURES])
def test_totals_that_are_not_the_sum_are_refused_whenever_they_come(kind, level):
    model = kind()
    wrapper = wrapped(model, MEASURED | level)
    with pytest.raises(RuntimeError, match='weigh losses before the model returns them'):
        for batch in batches(4):
            model.train_step(batch, wrapper)
    assert kind is Regularised or model.step == 3


class SelfTaught(TwoTasks):
    """Makes the targets of a loss by a forward pass of its own."""

    def forward(self, x: torch.Tensor, without: str = '', mode: str = 'loss'):
        if mode == 'predict':
            return [self.path(self.trunk(x)).detach()]
        (target,) = self(x, mode='predict')
        return super().forward(x) | dict(loss_path=(self.path(self.trunk(x)) - target - 1).square())


class Grouped(TwoTasks):
    """Features in a dictionary that is built otherwise than from pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk.register_forward_hook(
            lambda module, inputs, output: collections.defaultdict(list, map=output)
        )

    def forward(self, x: torch.Tensor, without: str = '', mode: str = 'loss') -> dict:
        features = self.trunk(x)['map']
        return dict(
            loss_box=self.box(features).square().mean(),
            loss_path=(self.path(features) - 3).square(),
        )


@pytest.mark.parametrize('kwargs', LEVELS)
@pytest.mark.parametrize('kind', [SelfTaught, Grouped])
def test_models_of_other_kinds_learn_as_with_the_stock_wrapper(kind, kwargs):
    assert_as_stock(lambda kwargs: trained(kind(), kwargs, 3), kwargs)


def test_losses_that_are_none_are_named_as_mmengine_does():
    class Nested(TwoTasks):
        def forward(self, x: torch.Tensor, without: str = '', mode: str = 'loss') -> dict:
            losses = super().forward(x)
            return losses | dict(loss_path=[[losses['loss_path']]])

    for kwargs in (None, dict(schedule=NEVER)):
        model = Nested()
        with pytest.raises(TypeError, match='loss_path is not a tensor or list of tensors'):
            model.train_step(batches(1)[0], wrapped(model, kwargs))
