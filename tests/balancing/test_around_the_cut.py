"""Losses that reach the trunk by other ways than the module at which tasks are compared."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.balancing.toys import ALWAYS, MEASURED, train, wrapper

TASKS = dict(first=['loss_a'], second=['loss_b'], third=['loss_c'])


class Layered(BaseModel):
    """A trunk of two blocks under two heads; the third loss looks at the inside of the trunk."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.low = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.high = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.a, self.b, self.c = (nn.Linear(6, 2) for _ in range(3))

    def forward(self, x: torch.Tensor, without: str = '', mode: str = 'loss') -> dict:
        losses = self.losses(self.low(x))
        return {key: value for key, value in losses.items() if key != without}

    def losses(self, inside: torch.Tensor) -> dict:
        out = self.high(inside)
        return dict(
            loss_a=self.a(out).square().mean(),
            loss_b=(self.b(out) + 2).square().mean(),
            loss_c=(self.c(inside) + 1).square().mean(),
        )


class Auxiliary(Layered):
    """The same; the loss that goes around is computed first, as those of a first stage are."""

    def losses(self, inside: torch.Tensor) -> dict:
        losses = super().losses(inside)
        return dict(loss_c=losses.pop('loss_c'), **losses)


class Mixed(Layered):
    """One loss sees both the output of the trunk and its inside."""

    def losses(self, inside: torch.Tensor) -> dict:
        out = self.high(inside)
        return super().losses(inside) | dict(loss_b=self.b(out + inside).cos().mean())


class Twice(Layered):
    """The upper block runs again on its own output."""

    def losses(self, inside: torch.Tensor) -> dict:
        once = self.high(inside)
        twice = self.high(once)
        return dict(
            loss_a=self.a(twice).square().mean(),
            loss_b=(self.b(twice) - 2).square().mean() + self.b(once).sin().mean(),
            loss_c=(self.c(once) + 1).square().mean(),
        )


class Remembered(Auxiliary):
    """Activations are computed again in each walk."""

    def losses(self, inside: torch.Tensor) -> dict:
        inside = checkpoint(lambda x: x.sin(), inside, use_reentrant=False)
        return super().losses(inside)


@pytest.mark.parametrize('kwargs', [{}, dict(accumulative_counts=3)], ids=['each', 'accumulated'])
@pytest.mark.parametrize('features', ['high', 'a', 'high.0'])
@pytest.mark.parametrize('kind', [Layered, Auxiliary, Mixed, Twice, Remembered])
def test_without_mixing_it_is_plain_training(kind, features, kwargs):
    def sometimes(step: int) -> str:
        return {2: 'loss_c', 5: 'loss_a'}.get(step, '')

    ours, stock = kind(), kind()
    level = dict(level='features', features=features)
    settings = copy.deepcopy(MEASURED | level | kwargs)
    after = train(ours, wrapper(ours, tasks=TASKS, **settings), without=sometimes)
    expected = train(stock, wrapper(stock, OptimWrapper, **kwargs), without=sometimes)
    for a, b in zip(after, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_what_goes_around_is_added_to_what_was_mixed_at_the_cut():
    model = Layered()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(4))
    inside = model.low(x)
    out = model.high(inside)
    losses = [model.a(out).square().mean(), (model.b(out) + 2).square().mean()]
    a, b = (torch.autograd.grad(loss, out, retain_graph=True)[0] for loss in losses)
    assert (a * b).sum() < 0, 'the toy has no conflict'
    mixed = a - (a * b).sum() / (b * b).sum() * b + b - (a * b).sum() / (a * a).sum() * a
    low, high = list(model.low.parameters()), list(model.high.parameters())
    expected = [*torch.autograd.grad(out, low + high, mixed, retain_graph=True)]
    plain = torch.autograd.grad((model.c(inside) + 1).square().mean(), low)
    for i, gradient in enumerate(plain):
        expected[i] = expected[i] + gradient

    level = dict(level='features', features='high')
    optim_wrapper = wrapper(model, tasks=TASKS, schedule=ALWAYS, **level)
    optim_wrapper.zero_grad = lambda: None
    model.train_step(dict(x=x), optim_wrapper)
    for parameter, gradient in zip(low + high, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_graph_is_freed_where_nothing_goes_around():
    """Keeping it would cost memory that this level promises to spare."""
    model, freed = Layered(), []
    losses = model.losses

    def without_the_inside(inside: torch.Tensor) -> dict:
        found = losses(inside.detach().requires_grad_())
        found['loss_c'] = model.c(model.high(inside)).square().mean()
        freed.append(found['loss_c'])
        return found

    model.losses = without_the_inside
    level = dict(level='features', features='high')
    train(model, wrapper(model, tasks=TASKS, schedule=ALWAYS, **level), 1)
    with pytest.raises(RuntimeError, match='second time'):
        freed[0].backward()
