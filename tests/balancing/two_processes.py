"""What each of two gloo processes does for test_processes.py; everything in one go."""

import itertools
import sys
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from mmdet3d.models.layers.norm import NaiveSyncBatchNorm1d
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import nn

import turbotrain.plugin  # noqa: F401 - registers the hooks
from tests.balancing.toys import (
    ALWAYS,
    FEATURES,
    MEASURED,
    STATEFUL,
    TASKS,
    THREE,
    ThreeTasks,
    TwoTasks,
    run_by_runner,
    train,
    wrapper,
)
from turbotrain.balancing import (
    AGGREGATORS,
    AmpConflictSuppressingOptimWrapper,
)

try:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
except ImportError:  # torch before 2.6 has it elsewhere
    fully_shard = None

RANDOM = ('RandomOrderPCGrad', 'GradVac', 'GradDrop')
BALANCERS = ('UW', 'DWA', 'FAMO')


def replica(model: nn.Module, **kwargs) -> MMDistributedDataParallel:
    return MMDistributedDataParallel(model, **kwargs)


def run(rank: int, settings: dict, kind=TwoTasks, steps: int = 8, without=None, **ddp):
    model = kind()
    parallel = replica(model, **ddp)
    stock = settings.pop('stock', False)
    optim_wrapper = (
        wrapper(model, OptimWrapper, **settings) if stock else wrapper(model, **settings)
    )
    # Each process has data of its own.
    parameters = train(parallel, optim_wrapper, steps, seed=10 + rank, without=without)
    return parameters, optim_wrapper, model


def one_rank_misses(rank: int):
    return lambda step: 'prediction' if rank == 1 and step % 2 else ''


def nobody_has(rank: int):
    return lambda step: 'prediction' if step % 2 else ''


def late(rank: int):
    return lambda step: 'mapping' if rank == 0 or step < 3 else ''


def count_messages(body) -> list[int]:
    """Numbers that each all_reduce of ``body`` exchanges."""
    sizes, original = [], dist.all_reduce

    def spy(tensor, *args, **kwargs):
        sizes.append(tensor.numel())
        return original(tensor, *args, **kwargs)

    dist.all_reduce = spy
    try:
        body()
    finally:
        dist.all_reduce = original
    return sizes


class Normed(TwoTasks):
    def __init__(self) -> None:
        super().__init__(norm=NaiveSyncBatchNorm1d(8))


class OwnNorms(TwoTasks):
    def __init__(self) -> None:
        super().__init__(norm=nn.BatchNorm1d(8))


def overflow_on_one_rank(rank: int, settings: dict) -> list[torch.Tensor]:
    """Mixed precision; in the fourth of eight steps one task is infinite on one rank."""
    model, calls = TwoTasks(), itertools.count()
    forward = model.forward
    model.forward = lambda **kwargs: {
        key: value * torch.inf if key == 'loss_path' and rank == 1 and step == 3 else value
        for step in [next(calls)]
        for key, value in forward(**kwargs).items()
    }
    with mock.patch(
        'mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True
    ):
        optim_wrapper = wrapper(model, AmpConflictSuppressingOptimWrapper, tasks=TASKS, **settings)
    optim_wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    parameters = train(replica(model), optim_wrapper, seed=10 + rank)
    return [*parameters, torch.tensor([optim_wrapper.loss_scaler.get_scale()])]


def with_a_penalty_on_one_rank(rank: int, settings: dict) -> list[torch.Tensor]:
    """Before each step the first process leaves a gradient of its own."""
    model = TwoTasks()
    parallel, optim_wrapper = replica(model), wrapper(model, tasks=TASKS, **settings)
    for step in range(4):
        if rank == 0:
            model.trunk(torch.ones(5, 4)).square().mean().backward()
        parameters = train(parallel, optim_wrapper, 1, seed=10 + rank + 2 * step)
    return parameters


def main(rank: int, store: str, out: str) -> None:
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    torch.set_num_threads(1)
    results: dict[str, object] = {}

    def note(name: str, parameters: list[torch.Tensor]) -> None:
        results[name] = torch.cat([p.flatten() for p in parameters])

    free = dict(schedule=dict(type='PeriodicSchedule', suppress=0))
    for case, kwargs in (
        ('plain', {}),
        ('accumulated', dict(accumulative_counts=3)),
        ('clipped', dict(clip_grad=dict(max_norm=0.1))),
    ):
        for name, settings in (
            ('stock', dict(stock=True)),
            ('parameters', dict(tasks=TASKS, **MEASURED)),
            ('features', dict(tasks=TASKS, **MEASURED, **FEATURES)),
            ('free', dict(tasks=TASKS, **free)),
        ):
            own = {k: dict(v) if isinstance(v, dict) else v for k, v in kwargs.items()}
            unused = dict(find_unused_parameters=True) if name == 'stock' else {}
            note(f'{case}/{name}', run(rank, settings | own, **unused)[0])
    for case, without, kind, tasks in (
        ('one misses', one_rank_misses(rank), TwoTasks, TASKS),
        ('nobody has', nobody_has(rank), TwoTasks, TASKS),
        ('late', late(rank), ThreeTasks, THREE),
    ):
        for name, settings in (
            ('stock', dict(stock=True)),
            ('parameters', dict(tasks=tasks, **MEASURED)),
            ('features', dict(tasks=tasks, **MEASURED, **FEATURES)),
            ('free', dict(tasks=tasks, **free)),
        ):
            unused = dict(find_unused_parameters=True) if name == 'stock' else {}
            parameters, *_ = run(rank, settings, kind, without=without, **unused)
            note(f'{case}/{name}', parameters)

    for name, settings in (
        ('free', free),
        ('parameters', MEASURED),
        ('features', MEASURED | FEATURES),
    ):
        note(f'penalty/{name}', with_a_penalty_on_one_rank(rank, settings))
    model = TwoTasks()
    try:
        train(replica(model), wrapper(model.trunk, tasks=TASKS, **free), 1)
    except ValueError as error:
        results['strangers'] = str(error)

    around = dict(level='features', features='box')  # the other task goes around it
    note('around', run(rank, dict(tasks=TASKS, **MEASURED, **around))[0])

    # The second process never has the third task, and neither has the misspelt one.
    alone = lambda step: 'mapping' if rank else ''  # noqa: E731
    run(rank, dict(tasks=THREE, tasks_within=3, **free), ThreeTasks, without=alone)
    model, misspelt = ThreeTasks(), TASKS | dict(mapping=['loss_m*'], lanes=['loss_lane'])
    parallel = replica(model)
    optim_wrapper = wrapper(model, tasks=misspelt, tasks_within=4, **free)
    for step in range(6):
        try:
            train(parallel, optim_wrapper, 1, without=alone)
        except ValueError as error:
            results['missed'] = [step, str(error)]
            break

    for name in AGGREGATORS.module_dict:
        for level in ({}, FEATURES):
            settings = dict(tasks=THREE, schedule=ALWAYS, aggregator=dict(type=name), **level)
            steps = 50 if name in RANDOM else 3
            where = 'features' if level else 'parameters'
            note(f'equal/{name}/{where}', run(rank, settings, ThreeTasks, steps)[0])
    for name in BALANCERS:
        balancer = dict(type=name) | (dict(interval=2) if name == 'DWA' else {})
        settings = dict(tasks=TASKS, schedule=ALWAYS, balancer=balancer)
        parameters, optim_wrapper, _ = run(rank, settings, steps=12)
        note(
            f'equal/{name}',
            [*parameters, optim_wrapper.balancer.factors(torch.ones(2).double()).float()],
        )
    settings = dict(tasks=TASKS, schedule=dict(type='WhenNeededSchedule', interval=3))
    parameters, optim_wrapper, _ = run(rank, settings, steps=50)
    note('equal/WhenNeeded', [*parameters, torch.tensor([optim_wrapper.schedule.mean])])

    note('norm/stock', run(rank, dict(stock=True), Normed, find_unused_parameters=True)[0])
    note('norm/parameters', run(rank, dict(tasks=TASKS, **MEASURED), Normed)[0])
    note('norm/features', run(rank, dict(tasks=TASKS, **MEASURED, **FEATURES), Normed)[0])
    for level in ({}, FEATURES):
        settings = dict(tasks=TASKS, schedule=ALWAYS, **level)
        try:
            run(rank, settings, Normed, without=one_rank_misses(rank))
        except RuntimeError as error:
            results.setdefault('norm errors', []).append(str(error))

    model = TwoTasks()
    parallel, optim_wrapper = replica(model), wrapper(model, tasks=TASKS, schedule=ALWAYS)
    train(parallel, optim_wrapper, 1)
    results['messages'] = count_messages(lambda: train(parallel, optim_wrapper, 3))

    overlapping = dict(tasks=TASKS, overlap_free_steps=True)
    note('overlap/ours', run(rank, overlapping | free, find_unused_parameters=True)[0])
    for name, settings in (('by hand', {}), ('overlapping', dict(overlap_free_steps=True))):
        settings = dict(tasks=TASKS, schedule=dict(type='PeriodicSchedule', free=1), **settings)
        note(f'mixed/{name}', run(rank, settings, find_unused_parameters=True)[0])

    for level in ({}, FEATURES):
        settings = dict(tasks=THREE, schedule=ALWAYS, **level)
        note(f'whole/{"features" if level else "parameters"}', run(rank, settings, ThreeTasks)[0])

    for name, settings in (
        ('stock', dict(stock=True)),
        ('free', dict(tasks=TASKS, **free)),
        ('suppressing', dict(tasks=TASKS, **MEASURED)),
    ):
        _, _, model = run(rank, settings, OwnNorms, find_unused_parameters=name == 'stock')
        results.setdefault('buffers', {})[name] = torch.cat([b.flatten() for b in model.buffers()])

    if hasattr(torch.amp, 'GradScaler'):
        for name, settings in (
            ('free', free),
            ('parameters', dict(schedule=ALWAYS)),
            ('features', dict(schedule=ALWAYS, **FEATURES)),
        ):
            note(f'overflow/{name}', overflow_on_one_rank(rank, settings))

    if fully_shard is not None:
        model = TwoTasks()
        fully_shard(model.trunk, mesh=init_device_mesh('cpu', (2,)))
        try:
            train(model, wrapper(model, tasks=TASKS), 1)
        except NotImplementedError as error:
            results['sharded'] = str(error)

    # As tools/train.py does on CPUs, and with --resume.
    parallel = dict(type='MMDistributedDataParallel', device_ids=None)
    ddp = dict(cfg=dict(model_wrapper_cfg=parallel))
    for level in ({}, FEATURES):
        settings, where = STATEFUL | level, 'features' if level else 'parameters'
        folder = Path(out) / where
        note(f'resume/{where}/whole', run_by_runner(folder / 'whole', 4, settings, **ddp))
        note(f'resume/{where}/half', run_by_runner(folder / 'parts', 2, settings, **ddp))
        dist.barrier()  # until the first process has written the checkpoint
        resumed = run_by_runner(folder / 'parts', 4, settings, resume=True, **ddp)
        note(f'resume/{where}/resumed', resumed)
    torch.save(results, Path(out) / f'{rank}.pth')
    dist.barrier()
    dist.destroy_process_group()


if __name__ == '__main__':
    main(int(sys.argv[1]), *sys.argv[2:])
