"""Runs of a second: a model that draws from every generator, on a few numbers."""

import multiprocessing
import os
import random
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, METRICS, MODELS
from mmengine.runner import Runner
from torch import nn

import turbotrain.plugin  # noqa: F401 - registers everything

SAMPLES, BATCH = 14, 2
EPOCH = SAMPLES // BATCH  # iterations
BY_EPOCH = dict(by_epoch=True, interval=1)  # checkpoints
HOOK_TYPES = (
    'PlainCheckpointHook', 'SyncNormStatisticsHook', 'NumericalFaultHook', 'TrainedPartsHook',
    'MissedValidationHook',
)  # fmt: skip
WARM_UP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=9)
TASKS = dict(detection=['loss_box'], prediction=['loss_path'])


@MODELS.register_module()
class Gambler(BaseModel):
    """Two tasks; dropout, and noise from Python and NumPy."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 8)
        )
        self.box, self.path = nn.Linear(8, 3), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor, index=None, mode: str = 'loss', **kwargs):
        features = self.trunk(x)
        if mode == 'predict':
            return [features]
        noise = random.random() + np.random.rand()  # noqa: NPY002
        box, path = self.box(features).square().mean(), (self.path(features) - noise).square()
        return dict(loss_box=box, loss_path=path.mean())


class Numbers(torch.utils.data.Dataset):
    """Samples that remember when they were asked for."""

    def __init__(self, size: int = SAMPLES) -> None:
        self.size, self.asked = size, []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, i: int) -> dict:
        self.asked.append(i)
        return dict(x=torch.randn(4, generator=torch.Generator().manual_seed(i)), index=i)


@METRICS.register_module()
class GamblingMetric(BaseMetric):
    """Validation that disturbs all random states, and finds each epoch better than the last."""

    def process(self, data_batch, data_samples) -> None:
        self.results.append(float(torch.rand(1)) + random.random())
        np.random.rand(3)  # noqa: NPY002

    def compute_metrics(self, results) -> dict:
        return dict(score=MessageHub.get_current_instance().get_info('epoch'))


class Interruption(Exception):
    """A run that ends before its time."""


@HOOKS.register_module()
class InterruptHook(Hook):
    """Raise before the iteration of this number, from 0."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration:
            raise Interruption


def build(
    work_dir: Path,
    epochs: int = 2,
    resume: bool = False,
    load_from: str | None = None,
    interrupt: int | None = None,
    checkpoint: dict | None = None,
    optim_wrapper: dict | None = None,
    hooks: tuple[dict, ...] = (),
    model: dict | None = None,
    validate: bool = False,
    dataset: torch.utils.data.Dataset | None = None,
    launcher: str = 'none',
    collate: Callable | dict | None = None,
    sampler: str = 'DefaultSampler',
    fault_hook: bool = True,
    param_scheduler: dict | list[dict] = WARM_UP,
    follow: str = 'checkpoint',
    seed: int = 0,
    iterations: int | None = None,
    metric: str = 'GamblingMetric',
    **loader,
) -> Runner:
    """A runner; unless told otherwise it saves every second iteration, in mid-epoch too.

    With ``iterations`` it has no epochs and validates after every fourth.
    """
    interruption = [] if interrupt is None else [dict(type='InterruptHook', iteration=interrupt)]
    default = dict(type='default_collate')
    train = dict(
        dataset=dataset or Numbers(), batch_size=BATCH, collate_fn=collate or default,
        sampler=dict(type=sampler, shuffle=True),
    ) | loader  # fmt: skip
    validation = {}
    if validate:
        in_order = dict(type='DefaultSampler', shuffle=False)
        validation = dict(
            val_dataloader=dict(dataset=Numbers(4), batch_size=2, collate_fn=default,
                                sampler=in_order),
            val_cfg=dict(), val_evaluator=dict(type=metric),
        )  # fmt: skip
    own = [dict(type=n) for n in HOOK_TYPES if fault_hook or n != 'NumericalFaultHook']
    own.append(dict(type='ExactResumeHook', schedule=follow))
    build.number = getattr(build, 'number', 0) + 1
    return Runner(
        model=model or dict(type='Gambler'), work_dir=str(work_dir), train_dataloader=train,
        train_cfg=dict(by_epoch=True, max_epochs=epochs) if iterations is None else dict(
            by_epoch=False, max_iters=iterations, val_interval=4
        ),
        optim_wrapper=optim_wrapper or dict(
            type='ConflictSuppressingOptimWrapper', optimizer=dict(type='Adam', lr=0.01),
            tasks=TASKS,
        ),
        param_scheduler=param_scheduler,
        default_hooks=dict(
            checkpoint=dict(type='DurableCheckpointHook', by_epoch=False, interval=2)
            | (checkpoint or {}),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=[*own, *interruption, *hooks],
        randomness=dict(seed=seed), resume=resume, load_from=load_from, launcher=launcher,
        cfg=dict(model_wrapper_cfg=dict(
            type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False
        )),
        experiment_name=f'{work_dir.name}{build.number}', **validation,
    )  # fmt: skip


def end_of(runner: Runner) -> dict[str, torch.Tensor]:
    """Train; all that the run ends with."""
    torch.manual_seed(7), random.seed(7), np.random.seed(7)  # noqa: NPY002
    runner.train()
    model = getattr(runner.model, 'module', runner.model)
    end = {name: value.clone() for name, value in model.state_dict().items()}
    for i, state in runner.optim_wrapper.optimizer.state_dict()['state'].items():
        end |= {f'optimizer.{i}.{key}': torch.as_tensor(value) for key, value in state.items()}
    end['next draws'] = torch.tensor([float(torch.rand(1)), random.random(), np.random.rand()])  # noqa: NPY002
    return end


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different


# Forked from a process that has imported everything and started no thread.
_SERVER = multiprocessing.get_context('forkserver')
_SERVER.set_forkserver_preload(['tests.engine.small_runs'])


def start(work: Callable, *args: object) -> multiprocessing.Process:
    """Call a function of a test module in another process."""
    process = _SERVER.Process(target=work, args=args)
    process.start()
    return process


def new_queue() -> multiprocessing.Queue:
    """By which such a function can answer."""
    return _SERVER.Queue()


def on_two_processes(work: Callable, *args: object) -> list:
    """Call ``work(rank, *args)`` in two processes that know each other; what they return."""
    address, queue = f'tcp://127.0.0.1:{free_port()}', new_queue()
    processes = [start(_take_part, work, rank, address, queue, args) for rank in range(2)]
    try:
        results = dict(queue.get(timeout=300) for _ in processes)
    finally:
        for process in processes:
            process.join(20)
            process.kill()
    for result in results.values():
        if isinstance(result, AssertionError):
            raise result
    return [results[rank] for rank in range(2)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def _take_part(work: Callable, rank: int, address: str, queue, args: tuple) -> None:
    os.environ['LOCAL_RANK'] = str(rank)
    torch.distributed.init_process_group('gloo', init_method=address, rank=rank, world_size=2)
    try:
        queue.put((rank, work(rank, *args)))
    except Exception:
        queue.put((rank, AssertionError(traceback.format_exc())))
    finally:
        torch.distributed.destroy_process_group()
