import copy

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

from tests.balancing.toys import (
    ALWAYS,
    FEATURES,
    MEASURED,
    NEVER,
    SETTINGS,
    TASKS,
    THREE,
    ThreeTasks,
    TwoTasks,
    gradients,
    train,
    wrapper,
)
from turbotrain.balancing import (
    ConflictSuppressingOptimWrapper,
    TaskGradients,
    task_losses,
)
from turbotrain.balancing.monitor import report_conflict
from turbotrain.balancing.processes import cut_like


@pytest.mark.parametrize('kwargs', SETTINGS)
@pytest.mark.parametrize(
    'plain', [dict(schedule=NEVER), dict(aggregator=dict(type='PlainSum'), schedule=ALWAYS)]
)
def test_free_steps_and_plain_sums_are_mmengines_own_bit_for_bit(plain, kwargs):
    ours, stock = TwoTasks(), TwoTasks()
    after = train(ours, wrapper(ours, tasks=TASKS, **plain, **copy.deepcopy(kwargs)))
    expected = train(stock, wrapper(stock, OptimWrapper, **copy.deepcopy(kwargs)))
    for a, b in zip(after, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    'settings', [dict(schedule=NEVER), MEASURED, MEASURED | FEATURES], ids=['free', 'exact', 'cut']
)
def test_the_last_update_may_have_fewer_passes(settings):
    def after(optim_wrapper, model):
        optim_wrapper.initialize_count_status(model, 0, 8)  # the third update has two
        return train(model, optim_wrapper)

    ours, stock = TwoTasks(), TwoTasks()
    kwargs = dict(accumulative_counts=3)
    expected = after(wrapper(stock, OptimWrapper, **kwargs), stock)
    for a, b in zip(
        after(wrapper(ours, tasks=TASKS, **settings, **kwargs), ours), expected, strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('kwargs', SETTINGS)
@pytest.mark.parametrize('level', [{}, FEATURES])
def test_the_sum_of_task_gradients_is_the_gradient_of_the_sum(level, kwargs):
    ours, stock = ThreeTasks(), ThreeTasks()

    def sometimes(step):
        return 'prediction' if step % 3 == 1 else 'mapping' if step % 4 == 2 else ''

    after = train(
        ours,
        wrapper(ours, tasks=THREE, **MEASURED, **level, **copy.deepcopy(kwargs)),
        without=sometimes,
    )
    expected = train(
        stock, wrapper(stock, OptimWrapper, **copy.deepcopy(kwargs)), without=sometimes
    )
    for a, b in zip(after, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


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
    """Of the gradients that training takes, where both tasks have one."""
    model = TwoTasks()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    output = model(x)
    boxes = output['loss_box'] + sum(output['loss_cls_a'])
    shared = list(model.trunk.parameters())
    a, b = (
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, shared, retain_graph=True)])
        for loss in (boxes, output['loss_path'].mean())
    )
    optim_wrapper = wrapper(model, tasks=TASKS, schedule=ALWAYS)
    model.train_step(dict(x=x), optim_wrapper)
    told = {
        name: optim_wrapper.message_hub.get_scalar(f'train/{name}').current()
        for name in ('task_cosine', 'task_norm/detection', 'task_norm/prediction')
    }
    expected = [float(torch.cosine_similarity(a, b, dim=0)), float(a.norm()), float(b.norm())]
    assert list(told.values()) == pytest.approx(expected, rel=1e-4)


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


class Checkpointed(TwoTasks):
    reentrant = False

    def forward(self, x: torch.Tensor, mode: str = 'loss') -> dict:
        x = checkpoint(self.trunk, x.requires_grad_(), use_reentrant=self.reentrant)
        box, path = self.box(x).square().mean(), (self.path(x) - 3).square().mean()
        return dict(loss_box=box, loss_path=path)


def test_activation_checkpointing():
    model, same = Checkpointed(), TwoTasks()
    same.forward = lambda x, mode: dict(
        loss_box=same.box(same.trunk(x)).square().mean(),
        loss_path=(same.path(same.trunk(x)) - 3).square().mean(),
    )
    after = train(model, wrapper(model, tasks=TASKS, schedule=ALWAYS))
    for a, b in zip(after, train(same, wrapper(same, tasks=TASKS, schedule=ALWAYS)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    model.reentrant = True
    with pytest.raises(RuntimeError, match='use_reentrant=False'):
        train(model, wrapper(model, tasks=TASKS, schedule=ALWAYS))


def test_features_aggregate_at_the_modules_output():
    model = TwoTasks()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(4))
    features = model.trunk(x)
    model.trunk.forward, forward = lambda _: features, model.trunk.forward
    per_task = list(task_losses(model(x), TASKS).values())
    model.trunk.forward = forward
    d, p = (torch.autograd.grad(v, features, retain_graph=True)[0] for v in per_task)
    assert (d * p).sum() < 0, 'the toy has no conflict'
    mixed = d - (d * p).sum() / (p * p).sum() * p + p - (d * p).sum() / (d * d).sum() * d
    expected = torch.autograd.grad(features, list(model.trunk.parameters()), mixed)

    optim_wrapper = wrapper(model, tasks=TASKS, schedule=ALWAYS, **FEATURES)
    seen = {}
    optim_wrapper.step = lambda **_: seen.update({n: q.grad for n, q in model.named_parameters()})
    model.train_step(dict(x=x), optim_wrapper)
    for (name, _), gradient in zip(model.trunk.named_parameters(), expected, strict=True):
        torch.testing.assert_close(seen[f'trunk.{name}'], gradient)


class Pyramid(BaseModel):
    """A trunk with several outputs: two tasks use `a` and `b`, the first alone `c`, none `d`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)

        class Trunk(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.ModuleList(nn.Linear(4, 3) for _ in range(4))

            def forward(self, x: torch.Tensor) -> dict:
                a, b, c, d = (layer(x) for layer in self.layers)
                return dict(scales=[a, (b, b)], alone=c, unused=d, mask=x > 0)

        self.trunk = Trunk()
        self.around = nn.Linear(4, 3)

    def losses(self, out: dict, x: torch.Tensor) -> dict:
        a, (b, same) = out['scales']
        first = 2 * a + b.sin() + out['alone'].cos()
        second = (a - 3).square() + (same + 2).square() + self.around(x)
        return dict(loss_box=first.mean(), loss_path=second.mean())

    def forward(self, x: torch.Tensor, mode: str = 'loss') -> dict:
        return self.losses(self.trunk(x), x)


def test_features_may_be_several_tensors():
    model = Pyramid()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(4))
    out = model.trunk(x)
    a, (b, _) = out['scales']
    c, losses = out['alone'], model.losses(out, x)
    d = torch.autograd.grad(losses['loss_box'], [a, b, c], retain_graph=True)
    p = torch.autograd.grad(losses['loss_path'], [a, b], retain_graph=True)
    dp = sum((i * j).sum() for i, j in zip(d, p, strict=False))
    dd, pp = (sum((g * g).sum() for g in own) for own in (d[:2], p))
    assert dp < 0, 'the toy has no conflict'
    mixed = [i * (1 - dp / dd) + j * (1 - dp / pp) for i, j in zip(d, p, strict=False)]
    trunk = list(model.trunk.layers[:3].parameters())
    expected = torch.autograd.grad([a, b, c], trunk, [*mixed, d[2]])

    optim_wrapper = wrapper(model, tasks=TASKS, schedule=ALWAYS, **FEATURES)
    optim_wrapper.zero_grad = lambda: None
    model.train_step(dict(x=x), optim_wrapper)
    for parameter, gradient in zip(trunk, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert model.around.weight.grad is not None
    assert model.trunk.layers[3].weight.grad is None


def test_features_that_are_not_there_are_refused():
    model = TwoTasks()
    with pytest.raises(ValueError, match='together with features'):
        wrapper(model, tasks=TASKS, level='features')
    optim_wrapper = wrapper(model, tasks=TASKS, level='features', features='trunc')
    with pytest.raises(ValueError, match=r"TwoTasks has no module features='trunc'.*'trunk'"):
        train(model, optim_wrapper, 1)  # a free step, before it is needed
    model.idle = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match='no output with a graph'):
        train(
            model, wrapper(model, tasks=TASKS, schedule=ALWAYS, level='features', features='idle')
        )


@pytest.mark.parametrize('level', [{}, FEATURES])
def test_walks_are_counted_on_the_graph(level):
    """Every node of a head runs once; of the trunk once per task, or once below a cut."""
    model = ThreeTasks()
    model.forward = lambda x, mode: dict(
        loss_box=model.box(f := model.trunk(x)).square().mean(),
        loss_path=model.path(f).square().mean(),
        loss_map=model.map(f).square().mean(),
    )
    calls = {}

    def count(module, inputs, output):
        name = next(n for n, m in model.named_modules() if m is module)
        output.register_hook(lambda g: calls.__setitem__(name, calls.get(name, 0) + 1))

    for name in ('trunk.0', 'trunk.3', 'box', 'path', 'map.0', 'map.2'):
        model.get_submodule(name).register_forward_hook(count)
    train(model, wrapper(model, tasks=THREE, schedule=ALWAYS, **level), 1)
    walks = 1 if level else 3
    assert calls.pop('trunk.0') == walks
    calls.pop('trunk.3')  # the cut itself is seen once per task
    assert set(calls.values()) == {1}
    assert len(calls) == 4


def test_memory_is_a_row_per_task_where_tasks_share_and_one_copy_elsewhere(monkeypatch):
    model, sizes = TwoTasks(), []
    reduce = TaskGradients.reduce

    def spy(self):
        sizes.append(self._held.buffer.numel())
        reduce(self)

    monkeypatch.setattr(TaskGradients, 'reduce', spy)
    train(model, wrapper(model, tasks=TASKS, schedule=ALWAYS), 2)
    shared = sum(p.numel() for p in model.trunk.parameters())
    single = sum(p.numel() for m in (model.box, model.path) for p in m.parameters())
    flags = 2 * len(list(model.parameters())) + 2
    assert sizes == [2 * shared + single + flags] * 2


def test_a_sharded_model_is_refused():
    # By its name: torch makes the old kind on accelerators only; test_processes.py has the new one.
    class FullyShardedDataParallel(nn.Linear):
        pass

    model = TwoTasks()
    model.path = FullyShardedDataParallel(8, 2)
    with pytest.raises(NotImplementedError, match='FSDP'):
        train(model, wrapper(model, tasks=TASKS), 1)


def test_scalars_by_task_and_by_pair():
    model = ThreeTasks()
    optim_wrapper = wrapper(model, tasks=THREE, schedule=ALWAYS)
    train(model, optim_wrapper, 3)
    scalars = optim_wrapper.message_hub.log_scalars
    names = list(THREE)
    pairs = [f'train/cosine/{a}~{b}' for i, a in enumerate(names) for b in names[i + 1 :]]
    lowest = scalars['train/task_cosine'].data[0][-1]
    assert lowest == min(scalars[pair].data[0][-1] for pair in pairs)
    for name in names:
        assert scalars[f'train/task_norm/{name}'].data[0][-1] > 0
        assert f'train/task_weight/{name}' in scalars
    assert 0 <= scalars['train/conflict_rate'].data[0][-1] <= 1


def test_rows_are_freed_with_the_gradients(monkeypatch):
    model, kept = TwoTasks(), []
    reduce = TaskGradients.reduce

    def spy(self):
        kept.append(StorageWeakRef(self._held.buffer.untyped_storage()))
        reduce(self)

    monkeypatch.setattr(TaskGradients, 'reduce', spy)
    optim_wrapper = wrapper(model, tasks=TASKS, schedule=ALWAYS)
    train(model, optim_wrapper, 1)
    optim_wrapper.zero_grad()
    assert [storage.expired() for storage in kept] == [True]


def test_gradients_have_their_parameters_memory_format():
    whole = torch.randn(6, 8)
    parameters = [
        nn.Parameter(torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)),
        nn.Parameter(torch.randn(4, 3).T),
        nn.Parameter(whole[:, :4]),  # not dense
        nn.Parameter(torch.tensor(1.0)),
    ]
    sum(p.square().sum() for p in parameters).backward()
    flat = torch.zeros(sum(p.numel() for p in parameters))
    for view, parameter in zip(cut_like(flat, parameters), parameters, strict=True):
        assert view.stride() == parameter.grad.stride()
        view += parameter.grad
    assert (flat != 0).all()  # side by side


def test_a_misspelt_aggregator_is_named_with_what_there_is():
    with pytest.raises(KeyError, match=r"no gradient aggregator 'PCgrad', only .*'PCGrad'"):
        wrapper(TwoTasks(), tasks=TASKS, aggregator=dict(type='PCgrad'))


def test_what_is_reported_of_two_tasks():
    hub = MessageHub.get_instance('what_is_reported_of_two_tasks')
    names, tasks = ['boxes', 'paths'], [0, 1]

    def report(inner: float) -> float:
        gram = torch.tensor([[4.0, inner], [inner, 9.0]], dtype=torch.float64)
        return report_conflict(hub, names, gram, torch.tensor([1.5, 0.8]), tasks, 2.0)

    assert report(-2.0) == pytest.approx(-1 / 3)
    told = {name: hub.get_scalar(f'train/{name}').current() for name in (
        'cosine/boxes~paths', 'task_cosine', 'task_conflict', 'conflict_rate',
        'task_norm/boxes', 'task_norm/paths', 'task_weight/boxes', 'task_weight/paths',
    )}  # fmt: skip
    assert list(told.values()) == pytest.approx([-1 / 3, -1 / 3, 1, 1, 1, 1.5, 1.5, 0.8])
    assert report(2.0) == pytest.approx(1 / 3)
    assert hub.get_scalar('train/conflict_rate').current() == 0.5
