"""Small models and training loops for the tests of balancing."""

import copy
from pathlib import Path

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from turbotrain.balancing import ConflictSuppressingOptimWrapper

TASKS = dict(detection=['loss_box', 'loss_cls_*'], prediction=['loss_path'])
THREE = TASKS | dict(mapping=['loss_map'])
NEVER, ALWAYS = dict(type='PeriodicSchedule', suppress=0), dict(type='PeriodicSchedule', free=0)
FEATURES = dict(level='features', features='trunk')
SETTINGS = [{}, dict(accumulative_counts=3), dict(clip_grad=dict(max_norm=0.1))]
# Takes one gradient per task and adds them up.
MEASURED = dict(aggregator=dict(type='PlainSum', measure=True), schedule=ALWAYS)


class TwoTasks(BaseModel):
    """A trunk, a head for each task, and a parameter nobody uses."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(
            nn.Linear(4, 8), norm or nn.Identity(), nn.Tanh(), nn.Linear(8, 8)
        )
        self.box, self.path = nn.Linear(8, 3), nn.Linear(8, 2)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor, without: str = '', mode: str = 'loss') -> dict:
        features = self.trunk(x)
        losses = dict(
            loss_box=self.box(features).square().mean(),
            loss_cls_a=[self.box(features).sin().mean(), features.cos().mean()],
            accuracy=torch.ones(1),
        )
        losses |= dict(loss_path=(self.path(features) - 3).square())
        if without == 'prediction':
            del losses['loss_path']
        return losses


class ThreeTasks(TwoTasks):
    """A third task, which sees the trunk's first layer only by way of a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Linear(8, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))

    def forward(self, x: torch.Tensor, without: str = '', mode: str = 'loss') -> dict:
        losses = super().forward(x, without)
        if without != 'mapping':
            losses['loss_map'] = (self.map(self.trunk(x)) + 1).square().mean()
        return losses


class Clouds(torch.utils.data.Dataset):
    """Seven samples for a runner."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, i: int) -> dict:
        return dict(x=torch.randn(4, generator=torch.Generator().manual_seed(i)))


# All that remembers: conflicts, draws, the schedule's position, the weights of the losses.
STATEFUL = dict(
    tasks=THREE,
    aggregator=dict(type='GradVac'),
    schedule=dict(type='WhenNeededSchedule', interval=3),
    balancer=dict(type='UW'),
)


@MODELS.register_module()
class RunnersThreeTasks(ThreeTasks):
    """To be built by a runner."""


def run_by_runner(
    work_dir: Path, epochs: int, settings: dict, resume: bool = False, **kwargs
) -> list[torch.Tensor]:
    """Train by mmengine's Runner, which saves every epoch; the weights at the end."""
    runner = Runner(
        model=dict(type='RunnersThreeTasks'),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Clouds(), batch_size=2, sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            type='ConflictSuppressingOptimWrapper', optimizer=dict(type='Adam', lr=0.01),
            **copy.deepcopy(settings),
        ),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[dict(type='PlainCheckpointHook')],
        randomness=dict(seed=0), resume=resume,
        experiment_name=f'{work_dir.name}{epochs}{resume}', **kwargs,
    )  # fmt: skip
    runner.train()
    return [p.detach().clone() for p in runner.model.parameters()]


def wrapper(model: nn.Module, kind: type = ConflictSuppressingOptimWrapper, **kwargs):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return kind(optimizer=optimizer, **kwargs)


def train(
    model: nn.Module, optim_wrapper: OptimWrapper, steps: int = 8, seed: int = 1, without=None
) -> list[torch.Tensor]:
    """Train on random data.

    Args:
        without: step -> name of the task that has no loss in it.
    """
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        data = dict(x=torch.randn(5, 4, generator=generator))
        if without is not None:
            data['without'] = without(step)
        model.train_step(data, optim_wrapper)
    return [p.detach().clone() for p in model.parameters()]


def gradients(model: nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    grads = torch.autograd.grad(
        loss, list(model.parameters()), allow_unused=True, retain_graph=True
    )
    return [
        torch.zeros_like(p) if g is None else g
        for p, g in zip(model.parameters(), grads, strict=True)
    ]
