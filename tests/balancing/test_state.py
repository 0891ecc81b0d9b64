"""Resumed equals uninterrupted, bit for bit; in files that weights_only reads."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper

from tests.balancing.toys import ALWAYS, STATEFUL, THREE, ThreeTasks, run_by_runner, wrapper
from turbotrain.balancing import AmpConflictSuppressingOptimWrapper

CASES = [
    dict(schedule=dict(type='PeriodicSchedule', free=2, suppress=1)),
    dict(schedule=dict(type='PeriodicSchedule', free=1, suppress=1), accumulative_counts=2),
    dict(schedule=dict(type='WhenNeededSchedule', interval=4)),
    *(
        dict(schedule=ALWAYS, aggregator=dict(type=name))
        for name in ('GradVac', 'RandomOrderPCGrad', 'GradDrop', 'NashMTL')
    ),
    dict(aggregator=dict(type='GradDrop'), schedule=ALWAYS, level='features', features='trunk'),
    *(dict(balancer=dict(type=name)) for name in ('UW', 'IMTLL', 'FAMO', 'STCH')),
    dict(balancer=dict(type='DWA', interval=4)),
]


def steps(model, optim_wrapper, numbers: range) -> list[torch.Tensor]:
    for i in numbers:
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(i))
        model.train_step(dict(x=x), optim_wrapper)
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize('case', CASES, ids=str)
def test_resumed_equals_uninterrupted(case, tmp_path):
    def begin():
        model = ThreeTasks()
        return model, wrapper(model, tasks=THREE, **copy.deepcopy(case))

    expected = steps(*begin(), range(20))
    model, optim_wrapper = begin()
    steps(model, optim_wrapper, range(10))
    torch.save(dict(model=model.state_dict(), optim=optim_wrapper.state_dict()), tmp_path / 'a.pth')
    saved = torch.load(tmp_path / 'a.pth', weights_only=True)
    model, optim_wrapper = begin()
    model.load_state_dict(saved['model'])
    optim_wrapper.load_state_dict(saved['optim'])
    for a, b in zip(steps(model, optim_wrapper, range(10, 20)), expected, strict=True):
        assert torch.equal(a, b)


def test_the_schedules_position_is_part_of_the_state():
    model = ThreeTasks()
    optim_wrapper = wrapper(model, tasks=THREE)
    steps(model, optim_wrapper, range(5))
    state = optim_wrapper.state_dict()
    again = wrapper(ThreeTasks(), tasks=THREE)
    assert again.suppresses != optim_wrapper.suppresses
    again.load_state_dict(state)
    assert again.suppresses == optim_wrapper.suppresses


def test_checkpoints_go_to_and_come_from_a_stock_wrapper():
    model = ThreeTasks()
    ours, stock = wrapper(model, tasks=THREE), wrapper(model, OptimWrapper)
    steps(model, ours, range(4))
    stock.load_state_dict(ours.state_dict())
    momentum = [s['momentum_buffer'] for s in stock.optimizer.state.values()]
    assert momentum
    fresh = wrapper(model, tasks=THREE)
    fresh.load_state_dict(stock.state_dict())
    for a, b in zip(momentum, fresh.optimizer.state.values(), strict=True):
        assert torch.equal(a, b['momentum_buffer'])
    changed = wrapper(model, tasks=THREE, aggregator=dict(type='GradVac'))
    changed.load_state_dict(ours.state_dict())  # of another aggregator: begins afresh
    assert changed.update_index == 4


def test_what_other_tasks_left_behind_is_not_used():
    settings = dict(
        aggregator=dict(type='GradVac'),
        schedule=dict(type='WhenNeededSchedule'),
        balancer=dict(type='UW'),
    )
    model = ThreeTasks()
    three = wrapper(model, tasks=THREE, **copy.deepcopy(settings))
    steps(model, three, range(4))
    swapped = dict(reversed(THREE.items()))
    for tasks in (swapped, dict(some=['loss_box', 'loss_map'], others=['loss_cls_*', 'loss_path'])):
        model = ThreeTasks()
        other = wrapper(model, tasks=tasks, **copy.deepcopy(settings))
        other.load_state_dict(three.state_dict())
        assert other.update_index == 4
        assert other.schedule.mean is None
        assert not other.aggregator.state_dict()['means'].any()
        steps(model, other, range(2))


def test_the_layout_of_the_task_gradients_is_resumed():
    """Inner products are summed in its order, even while the task that shaped it is missing."""
    model = ThreeTasks()
    optim_wrapper = wrapper(model, tasks=THREE, schedule=ALWAYS)
    steps(model, optim_wrapper, range(2))
    layout = optim_wrapper.state_dict()['conflict_suppression']['layout']
    assert layout.sum(0).max() == 3
    again = wrapper(model, tasks=THREE, schedule=ALWAYS)
    again.load_state_dict(optim_wrapper.state_dict())
    assert torch.equal(again.state_dict()['conflict_suppression']['layout'], layout)
    model.train_step(dict(x=torch.randn(5, 4), without='mapping'), again)
    assert torch.equal(again.state_dict()['conflict_suppression']['layout'], layout)


def test_the_layout_comes_back_to_the_cpu():
    """On a GPU, mmengine resumes with all tensors of the checkpoint there."""

    class Elsewhere(torch.Tensor):
        """Stands for a tensor of another device."""

        def cpu(self) -> torch.Tensor:
            return self.as_subclass(torch.Tensor)

    model = ThreeTasks()
    optim_wrapper = wrapper(model, tasks=THREE, schedule=ALWAYS)
    steps(model, optim_wrapper, range(2))
    state = optim_wrapper.state_dict()
    own = state['conflict_suppression']
    own['layout'] = own['layout'].as_subclass(Elsewhere)
    again = wrapper(model, tasks=THREE, schedule=ALWAYS)
    again.load_state_dict(state)
    assert type(again.state_dict()['conflict_suppression']['layout']) is torch.Tensor


def test_the_amp_twin_saves_both_states(monkeypatch):
    monkeypatch.setattr(
        'mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True
    )
    model = ThreeTasks()
    amp = wrapper(model, AmpConflictSuppressingOptimWrapper, tasks=THREE)
    state = amp.state_dict()
    assert {'loss_scaler', 'conflict_suppression'} <= state.keys()
    amp.load_state_dict(state)


def test_runners_resume_equals_an_uninterrupted_run(tmp_path):
    whole = run_by_runner(tmp_path / 'whole', 4, STATEFUL)
    interrupted = run_by_runner(tmp_path / 'parts', 2, STATEFUL)
    resumed = run_by_runner(tmp_path / 'parts', 4, STATEFUL, resume=True)
    assert not torch.equal(interrupted[-1], resumed[-1])
    for a, b in zip(whole, resumed, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        ('UW', 'IMTLL'), ('UW', 'FAMO'), ('IMTLL', 'UW'), ('FAMO', 'UW'),
        ('STCH', 'DWA'), ('DWA', 'STCH'), ('DWA', 'GeometricMean'),
    ],
)  # fmt: skip
def test_what_another_balancer_learnt_is_not_used(before, after):
    """Their states look alike."""
    model = ThreeTasks()
    first = wrapper(model, tasks=THREE, balancer=dict(type=before))
    steps(model, first, range(4))
    second = wrapper(model, tasks=THREE, balancer=dict(type=after))
    fresh = copy.deepcopy(second.balancer.state_dict())
    assert second.forgotten_state(first.state_dict()) == ['balancer']
    second.load_state_dict(first.state_dict())
    assert str(second.balancer.state_dict()) == str(fresh)
    steps(model, second, range(2))
