import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from projects.TurboTrain.turbotrain.balancing import (
    AmpConflictSuppressingOptimWrapper,
    ConflictSuppressingOptimWrapper,
    task_losses,
)

TASKS = dict(detection=['loss_box', 'loss_cls_*'], prediction=['loss_path'])
NEVER, ALWAYS = dict(type='PeriodicSchedule', suppress=0), dict(type='PeriodicSchedule', free=0)


class TwoTasks(BaseModel):
    """A trunk, a head for each task, and a parameter nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8))
        self.box, self.path = nn.Linear(8, 3), nn.Linear(8, 2)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor, mode: str = 'loss') -> dict:
        features = self.trunk(x)
        losses = dict(
            loss_box=self.box(features).square().mean(),
            loss_cls_a=[self.box(features).sin().mean(), features.cos().mean()],
            accuracy=torch.ones(1),
        )
        return losses | dict(loss_path=(self.path(features) - 3).square())


def wrapper(model: nn.Module, kind: type = ConflictSuppressingOptimWrapper, **kwargs):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return kind(optimizer=optimizer, **kwargs)


def train(model: nn.Module, optim_wrapper: OptimWrapper, steps: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        data = dict(x=torch.randn(5, 4, generator=generator))
        model.train_step(data, optim_wrapper)
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize(
    'kwargs', [{}, dict(accumulative_counts=3), dict(clip_grad=dict(max_norm=0.1))]
)
def test_free_steps_are_mmengines_own_bit_for_bit(kwargs):
    ours, stock = TwoTasks(), TwoTasks()
    after = train(ours, wrapper(ours, tasks=TASKS, schedule=NEVER, **copy.deepcopy(kwargs)))
    expected = train(stock, wrapper(stock, OptimWrapper, **copy.deepcopy(kwargs)))
    for a, b in zip(after, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    'kwargs', [{}, dict(accumulative_counts=3), dict(clip_grad=dict(max_norm=0.1))]
)
def test_plain_sum_of_task_gradients_is_the_gradient_of_the_sum(kwargs):
    ours, stock = TwoTasks(), TwoTasks()
    plain = dict(aggregator=dict(type='PlainSum'), schedule=ALWAYS)
    after = train(ours, wrapper(ours, tasks=TASKS, **plain, **copy.deepcopy(kwargs)))
    expected = train(stock, wrapper(stock, OptimWrapper, **copy.deepcopy(kwargs)))
    for a, b in zip(after, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def gradients(model: nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    grads = torch.autograd.grad(
        loss, list(model.parameters()), allow_unused=True, retain_graph=True
    )
    return [
        torch.zeros_like(p) if g is None else g
        for p, g in zip(model.parameters(), grads, strict=True)
    ]


def test_shared_parameters_get_the_projection_and_heads_their_plain_gradient():
    model = TwoTasks()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(4))
    per_task = task_losses(model(x), TASKS)
    g_d, g_p = (gradients(model, loss) for loss in per_task.values())
    trunk = len(list(model.trunk.parameters()))
    names = [name for name, _ in model.named_parameters()]
    shared = [i for i, name in enumerate(names) if name.startswith('trunk')]
    assert len(shared) == trunk
    d = torch.cat([g_d[i].flatten() for i in shared])
    p = torch.cat([g_p[i].flatten() for i in shared])
    assert d @ p < 0, 'the toy has no conflict'
    expected = (d - (d @ p) / (p @ p) * p) + (p - (d @ p) / (d @ d) * d)

    optim_wrapper = wrapper(model, tasks=TASKS, schedule=ALWAYS)
    seen = {}
    optim_wrapper.step = lambda **_: seen.update({n: q.grad for n, q in model.named_parameters()})
    model.train_step(dict(x=x), optim_wrapper)
    torch.testing.assert_close(torch.cat([seen[names[i]].flatten() for i in shared]), expected)
    for i, name in enumerate(names):
        if name.startswith(('box', 'path')):
            torch.testing.assert_close(seen[name], g_d[i] + g_p[i])
    assert seen['unused'] is None


def test_suppressing_the_conflict_helps_both_tasks():
    """Two quadratic tasks of very different curvature, from where they conflict."""

    class Valley(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([0.0, 2.0]))

        def forward(self, mode: str = 'loss') -> dict:
            steep = 30 * (self.w[0] - 1) ** 2 + (self.w[1] - 1) ** 2
            gentle = (self.w[0] + 1) ** 2 + (self.w[1] + 1) ** 2
            return dict(loss_box=steep, loss_path=gentle)

    def after_a_step(schedule: dict) -> dict:
        model = Valley()
        optim_wrapper = ConflictSuppressingOptimWrapper(
            optimizer=torch.optim.SGD(model.parameters(), lr=0.01), tasks=TASKS, schedule=schedule
        )
        before = model()
        model.train_step({}, optim_wrapper)
        return {k: (model()[k] - before[k]).item() for k in before}

    assert after_a_step(NEVER)['loss_path'] > 0
    assert all(change < 0 for change in after_a_step(ALWAYS).values())


def test_conflict_goes_to_the_message_hub():
    model = TwoTasks()
    optim_wrapper = wrapper(model, tasks=TASKS, schedule=ALWAYS)
    train(model, optim_wrapper, 3)
    cosines = optim_wrapper.message_hub.get_scalar('train/task_cosine').data[0][-3:]
    conflicts = optim_wrapper.message_hub.get_scalar('train/task_conflict').data[0][-3:]
    assert ((cosines >= -1) & (cosines <= 1)).all()
    assert ((cosines < 0) == (conflicts == 1)).all()


@pytest.mark.parametrize(
    ('tasks', 'words'),
    [
        (dict(detection=['loss_box'], prediction=['loss_path']), ['loss_cls_a', 'no task']),
        (dict(detection=['loss_*'], prediction=['loss_path']), ['loss_path', 'more than one']),
    ],
)
def test_losses_of_no_task_or_two_are_refused_by_name(tasks, words):
    model = TwoTasks()
    with pytest.raises(ValueError) as error:
        train(model, wrapper(model, tasks=tasks, schedule=NEVER), 1)
    for word in [*words, 'detection', 'prediction']:
        assert word in str(error.value)


def test_a_task_without_a_graph_adds_nothing():
    model = TwoTasks()
    forward = model.forward
    model.forward = lambda **kwargs: forward(**kwargs) | dict(loss_path=torch.zeros(()))
    after = train(model, wrapper(model, tasks=TASKS, schedule=ALWAYS))
    stock = TwoTasks()
    forward_stock = stock.forward
    stock.forward = lambda **kwargs: forward_stock(**kwargs) | dict(loss_path=torch.zeros(()))
    for a, b in zip(after, train(stock, wrapper(stock, OptimWrapper)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_heads_run_backward_once_and_the_trunk_once_a_task():
    model = TwoTasks()
    calls = dict(trunk=0, box=0, path=0)
    for name in calls:
        module = getattr(model, name)
        module.register_full_backward_hook(
            lambda *_, name=name: calls.__setitem__(name, calls[name] + 1)
        )
    forward = model.forward
    model.forward = lambda **kw: {k: v for k, v in forward(**kw).items() if k != 'loss_cls_a'}
    train(model, wrapper(model, tasks=TASKS, schedule=ALWAYS), 1)
    assert calls == dict(trunk=2, box=1, path=1)


class FakeScaler:
    """What GradScaler does, on the CPU: scale, unscale, skip on infinities."""

    def __init__(self, scale: float = 1024.0) -> None:
        self._scale = scale

    def scale(self, loss):
        return loss * self._scale

    def step(self, optimizer, **kwargs):
        for group in optimizer.param_groups:
            for p in group['params']:
                if p.grad is not None:
                    p.grad /= self._scale
        optimizer.step(**kwargs)

    def update(self, *_):
        pass


def test_scaling_the_losses_changes_nothing(monkeypatch):
    # There is no accelerator here: the scaler is emulated, the wrapper's own code is not.
    monkeypatch.setattr(
        'mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True
    )

    def with_scale(scale: float) -> list[torch.Tensor]:
        model = TwoTasks()
        optim_wrapper = wrapper(model, AmpConflictSuppressingOptimWrapper, tasks=TASKS)
        optim_wrapper.loss_scaler = FakeScaler(scale)
        return train(model, optim_wrapper)

    start = [p.detach() for p in TwoTasks().parameters()]
    scaled, unscaled = with_scale(1024.0), with_scale(1.0)
    assert not torch.equal(start[-1], scaled[-1])
    for a, b in zip(scaled, unscaled, strict=True):
        assert torch.equal(a, b)  # powers of two lose no bits
