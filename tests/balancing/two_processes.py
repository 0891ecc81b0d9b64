"""What each of two gloo processes does for test_processes.py; everything in one go."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmdet3d.models.layers.norm import NaiveSyncBatchNorm1d
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import nn

from projects.TurboTrain.turbotrain.balancing import AGGREGATORS
from tests.balancing.toys import (
    ALWAYS,
    MEASURED,
    TASKS,
    THREE,
    ThreeTasks,
    TwoTasks,
    train,
    wrapper,
)

FEATURES = dict(level='features', features='trunk')
RANDOM = ('RandomOrderPCGrad', 'GradVac', 'GradDrop')
BALANCERS = ('UncertaintyWeighting', 'DynamicWeightAverage', 'GradNorm')


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
    return train(parallel, optim_wrapper, steps, seed=10 + rank, without=without), optim_wrapper


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
            parameters, _ = run(rank, settings, kind, without=without, **unused)
            note(f'{case}/{name}', parameters)

    for name in AGGREGATORS.module_dict:
        for level in ({}, FEATURES):
            settings = dict(tasks=THREE, schedule=ALWAYS, aggregator=dict(type=name), **level)
            steps = 50 if name in RANDOM else 3
            where = 'features' if level else 'parameters'
            note(f'equal/{name}/{where}', run(rank, settings, ThreeTasks, steps)[0])
    for name in BALANCERS:
        balancer = dict(type=name) | (dict(interval=2) if name == 'DynamicWeightAverage' else {})
        settings = dict(tasks=TASKS, schedule=ALWAYS, balancer=balancer)
        parameters, optim_wrapper = run(rank, settings, steps=12)
        note(f'equal/{name}', [*parameters, optim_wrapper.balancer.weights.float()])
    settings = dict(tasks=TASKS, schedule=dict(type='WhenNeededSchedule', interval=3))
    parameters, optim_wrapper = run(rank, settings, steps=50)
    note('equal/WhenNeeded', [*parameters, torch.tensor([optim_wrapper.schedule.mean])])

    note('norm/stock', run(rank, dict(stock=True), Normed, find_unused_parameters=True)[0])
    note('norm/parameters', run(rank, dict(tasks=TASKS, **MEASURED), Normed)[0])
    note('norm/features', run(rank, dict(tasks=TASKS, **MEASURED, **FEATURES), Normed)[0])
    try:
        run(rank, dict(tasks=TASKS, schedule=ALWAYS), Normed, without=one_rank_misses(rank))
    except RuntimeError as error:
        results['norm error'] = str(error)

    model = TwoTasks()
    parallel, optim_wrapper = replica(model), wrapper(model, tasks=TASKS, schedule=ALWAYS)
    train(parallel, optim_wrapper, 1)
    results['messages'] = count_messages(lambda: train(parallel, optim_wrapper, 3))

    overlapping = dict(tasks=TASKS, overlap_free_steps=True)
    note('overlap/ours', run(rank, overlapping | free, find_unused_parameters=True)[0])
    torch.save(results, Path(out) / f'{rank}.pth')
    dist.barrier()
    dist.destroy_process_group()


if __name__ == '__main__':
    main(int(sys.argv[1]), *sys.argv[2:])
