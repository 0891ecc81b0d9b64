"""NaN and infinity: skipped, counted, told by task and sample, and not for ever."""

import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODELS, OPTIM_WRAPPERS

from tests.engine.small_runs import (
    TASKS,
    Gambler,
    Numbers,
    build,
    end_of,
    on_two_processes,
)
from turbotrain.balancing import AmpConflictSuppressingOptimWrapper
from turbotrain.balancing.faults import faulty_tasks, non_finite_gradients
from turbotrain.engine.hooks import NumericalFaultHook
from turbotrain.errors import NumericalError

ALWAYS, NEVER = dict(type='PeriodicSchedule', free=0), dict(type='PeriodicSchedule', suppress=0)


@MODELS.register_module()
class Faulty(Gambler):
    """One sample spoils a loss, a gradient, or the features."""

    def __init__(self, what: str, sample: int = 3) -> None:
        super().__init__()
        self.what, self.sample = what, sample

    def forward(self, x, index=None, mode='loss', **kwargs):
        bad = index is not None and self.sample in index.tolist()
        if bad and self.what == 'input':
            x = x * math.inf
        losses = super().forward(x, index, mode)
        if bad and self.what == 'loss':
            losses['loss_path'] = losses['loss_path'] * math.nan
        if bad and self.what == 'gradient':  # the root of 0 is 0, its derivative is not finite
            losses['loss_path'] = losses['loss_path'] + (self.path.weight * 0).sum().sqrt()
        if bad and self.what == 'infinity':  # which clipping by value makes a number
            total = self.path.weight.sum()
            losses['loss_path'] = losses['loss_path'] + (total - total.detach()).sqrt()
        return losses


class Named(Numbers):
    """With the names that the project's samples have."""

    def __getitem__(self, i: int) -> dict:
        info = SimpleNamespace(metainfo=dict(scenario='a_site', frame=100 + i))
        return dict(super().__getitem__(i), data_samples=info)


def collate(batch: list[dict]) -> dict:
    return dict(
        x=torch.stack([sample['x'] for sample in batch]),
        index=torch.tensor([sample['index'] for sample in batch]),
        data_samples=[sample['data_samples'] for sample in batch],
    )


def optimiser(schedule: dict | None = None, **kwargs) -> dict:
    if schedule is None:
        return dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=0.01), **kwargs)
    return dict(
        type='ConflictSuppressingOptimWrapper', optimizer=dict(type='Adam', lr=0.01), tasks=TASKS,
        schedule=schedule, **kwargs,
    )  # fmt: skip


def log_of(folder) -> list[str]:
    text = next(folder.glob('*/*.log')).read_text()
    return [line for line in text.splitlines() if 'update is skipped' in line]


@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0), dict(type='value', clip_value=1.0)])
@pytest.mark.parametrize('schedule', [None, NEVER, ALWAYS], ids=['stock', 'free', 'suppressing'])
@pytest.mark.parametrize('what', ['loss', 'gradient', 'infinity', 'input'])
def test_one_bad_sample(what, schedule, clip, tmp_path):
    runner = build(
        tmp_path, model=dict(type='Faulty', what=what), dataset=Named(),
        optim_wrapper=optimiser(schedule, clip_grad=clip), collate=collate,
    )  # fmt: skip
    end = end_of(runner)
    assert all(value.isfinite().all() for value in end.values()), 'statistics too'
    assert int(end['optimizer.0.step']) == 14 - 2, 'once in an epoch'
    lines = log_of(tmp_path)
    assert len(lines) == 2 and '2. of at most 50' in lines[1]
    for line in lines:
        assert 'scenario a_site frame 103' in line
        if what == 'loss' and schedule:
            assert "loss_path of task 'prediction' is not finite" in line
        elif what == 'loss':
            assert 'loss_path is not finite' in line
        if what in ('gradient', 'infinity') and schedule == ALWAYS:
            assert "the gradient of 'prediction' is not finite" in line
    assert runner.message_hub.get_info('skipped_updates') == 2


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(AmpConflictSuppressingOptimWrapper):
    """Mixed precision as it is but for the accelerator: torch's loss scaler on CPU tensors."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)


@pytest.mark.skipif(
    not hasattr(torch.amp, 'GradScaler'), reason='torch before 2.3 has no loss scaler for the CPU'
)
@pytest.mark.parametrize('schedule', [NEVER, ALWAYS], ids=['free', 'suppressing'])
@pytest.mark.parametrize('what', ['loss', 'gradient', 'input'])
def test_mixed_precision_skips_and_only_losses_are_faults(what, schedule, tmp_path, monkeypatch):
    monkeypatch.setattr(
        'mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True
    )
    optim_wrapper = optimiser(schedule) | dict(type='CPUAmpOptimWrapper')
    runner = build(
        tmp_path, model=dict(type='Faulty', what=what), dataset=Named(), collate=collate,
        optim_wrapper=optim_wrapper,
    )  # fmt: skip
    end = end_of(runner)
    assert all(value.isfinite().all() for value in end.values()), 'statistics too'
    assert int(end['optimizer.0.step']) == 14 - 2, 'once in an epoch'
    assert runner.optim_wrapper.loss_scaler.get_scale() == 256, 'halved twice'
    faults = log_of(tmp_path)
    if what == 'gradient':  # which may be an overflow: the scaler's business
        assert not faults and 'skipped_updates' not in runner.message_hub.runtime_info
        text = next(tmp_path.glob('*/*.log')).read_text()
        assert text.count('mixed precision overflows in the gradient') == 2
    else:
        assert len(faults) == 2 and all('scenario a_site frame 103' in line for line in faults)


@MODELS.register_module()
class SkipsEmpty(Faulty):
    """Learns nothing from every second batch."""

    def train_step(self, data, optim_wrapper):
        self.batches = getattr(self, 'batches', 0) + 1
        if self.batches % 2 == 0:
            return dict(loss=torch.tensor(0.0))
        return super().train_step(data, optim_wrapper)


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('schedule', [None, NEVER, ALWAYS], ids=['stock', 'free', 'suppressing'])
def test_a_batch_without_a_backward_pass_is_no_fault(schedule, count, tmp_path):
    def train(folder, what: str) -> tuple:
        runner = build(
            folder, model=dict(type='SkipsEmpty', what=what), dataset=Named(), collate=collate,
            optim_wrapper=optimiser(schedule, accumulative_counts=count),
        )  # fmt: skip
        end_of(runner)
        return runner.message_hub.runtime_info.get('skipped_updates', 0), len(log_of(folder))

    assert train(tmp_path / 'good', 'nothing') == (0, 0)
    # In this order the bad sample is in batches that are learned from.
    skipped, told = train(tmp_path / 'bad', 'loss')
    assert skipped == told and skipped in (1, 2)


def test_too_many_end_the_run_with_the_count_kept_in_checkpoints(tmp_path):
    hooks = (dict(type='NumericalFaultHook', max_skipped=2),)
    kwargs = dict(
        model=dict(type='Faulty', what='loss'), dataset=Named(), collate=collate, fault_hook=False,
        hooks=hooks,
    )  # fmt: skip
    end_of(build(tmp_path, epochs=2, **kwargs))
    resumed = build(tmp_path, epochs=3, resume=True, **kwargs)
    with pytest.raises(NumericalError, match='update 3 that had to be skipped, 2 are allowed'):
        end_of(resumed)


def test_accumulated_gradients_name_the_samples_of_the_whole_update(tmp_path):
    optim_wrapper = optimiser(ALWAYS, accumulative_counts=7)
    end_of(
        build(
            tmp_path, model=dict(type='Faulty', what='loss'), dataset=Named(), collate=collate,
            optim_wrapper=optim_wrapper,
        )
    )  # fmt: skip
    assert len(log_of(tmp_path)) == 2
    assert all(f'frame {100 + i}' in log_of(tmp_path)[0] for i in range(14))


def run_with_a_fault(rank: int, folder) -> dict:
    runner = build(
        folder, model=dict(type='Faulty', what='loss'), dataset=Numbers(20), launcher='pytorch'
    )
    return {name: value.numpy() for name, value in end_of(runner).items()}


def test_all_processes_skip_alike(tmp_path):
    ends = on_two_processes(run_with_a_fault, tmp_path)
    for name, value in ends[0].items():
        assert (value == ends[1][name]).all() or name == 'next draws'
    assert int(ends[0]['optimizer.0.step']) == 10 - 2
    assert "loss_path of task 'prediction' is not finite" in log_of(tmp_path)[0]


def test_tasks_are_told_by_the_parameters_that_they_alone_use():
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(4)]
    for parameter in parameters[:3]:
        parameter.grad = torch.full((2,), 1e30)  # squares would overflow
    assert non_finite_gradients(parameters) == []
    layout = torch.tensor([[True, True, False, False], [True, False, True, False]])
    parameters[0].grad[1] = parameters[2].grad[0] = math.inf
    assert faulty_tasks(parameters, ['a', 'b'], layout) == ['b']
    parameters[2].grad = None
    assert faulty_tasks(parameters, ['a', 'b'], layout) == ['a', 'b']
    assert faulty_tasks(parameters, ['a', 'b'], None) == ['a', 'b']
    parameters[0].grad = None
    assert faulty_tasks(parameters, ['a', 'b'], layout) == []


def test_sparse_and_empty_gradients_are_looked_at():
    table, empty = torch.nn.Embedding(5, 2, sparse=True), torch.nn.Parameter(torch.ones(0, 2))
    parameters = [empty, table.weight]
    empty.grad = torch.ones(0, 2)
    assert non_finite_gradients([empty]) == []
    for rows, factor, bad in ([], 1.0, []), ([1, 3, 3], 1.0, []), ([4], math.inf, [1]):
        table.weight.grad = None
        (factor * table(torch.tensor(rows, dtype=torch.long))).sum().backward()
        assert table.weight.grad.is_sparse
        assert non_finite_gradients(parameters) == bad


def test_several_optimisers_are_left_alone():
    model = Gambler()
    parts = dict(
        a=OptimWrapper(torch.optim.SGD(model.trunk.parameters(), lr=0.1)),
        b=OptimWrapper(torch.optim.SGD(model.box.parameters(), lr=0.1)),
    )
    runner = SimpleNamespace(optim_wrapper=OptimWrapperDict(**parts), model=model)
    hook = NumericalFaultHook()
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    hook.after_train_iter(runner, 0, outputs=dict(loss=torch.tensor(math.nan)))
    hook.after_train(runner)
