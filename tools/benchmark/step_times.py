"""How long a step of each of several trainings takes, measured in turn on one machine."""

import json
import statistics
import time
from collections.abc import Mapping

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import projects.TurboTrain.turbotrain  # noqa: F401 - registers everything

__all__ = ['Step', 'kind_of', 'step_seconds']

ROUNDS = 12  # divisible by the length of mini's period of free and suppressing steps


def step_seconds(trainings: Mapping[str, Config], rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds of a training step without loading, by name.

    In every round each kind of training takes a step on one sample after the other, so that all
    meet the same machine. Where some steps suppress conflicts and others do not it is the mean of a
    period's medians that counts, so that both kinds do.

    Args:
        trainings: name -> config.
        rounds: how many steps of each.
    """
    init_default_scope('mmdet3d')
    names = {name: kind_of(cfg) for name, cfg in trainings.items()}
    kinds = {names[name]: cfg for name, cfg in trainings.items()}
    steps = {kind: Step(cfg) for kind, cfg in kinds.items()}
    times = {kind: [] for kind in steps}
    for i in range(-2, rounds):  # two rounds warm up
        for kind, step in steps.items():
            seconds = step.run()
            if i >= 0:
                times[kind].append(seconds)
    return {name: steps[kind].typical(times[kind]) for name, kind in names.items()}


def kind_of(cfg: Config) -> str:
    """What decides how long a training step takes."""
    parts = cfg.model, cfg.optim_wrapper, cfg.train_dataloader.dataset
    return json.dumps([part.to_dict() for part in parts], default=str)


class Step:
    """A training, a step at a time."""

    def __init__(self, cfg: Config) -> None:
        torch.manual_seed(0)
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.model = MODELS.build(cfg.model).to(device).train()
        self.optimizer = build_optim_wrapper(self.model, cfg.optim_wrapper)
        loader = {**cfg.train_dataloader, 'num_workers': 0, 'persistent_workers': False}
        self.loader = iter(Runner.build_dataloader(loader, seed=0))
        schedule = cfg.optim_wrapper.get('schedule', {})
        self.period = schedule.get('free', 0) + schedule.get('suppress', 0) or 1

    def run(self) -> float:
        """Seconds of one step; loading does not count."""
        batch = next(self.loader)
        _wait()
        start = time.perf_counter()
        self.model.train_step(batch, self.optimizer)
        _wait()
        return time.perf_counter() - start

    def typical(self, times: list[float]) -> float:
        """Mean over the steps of a period of the median of each."""
        return statistics.mean(
            statistics.median(times[i :: self.period]) for i in range(self.period)
        )


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
