"""What balancing costs: ``python tools/costs/balancing.py`` (on the mini set).

Training steps of a plain OptimWrapper, of TorchJD's ``mtl_backward`` with PCGrad, and of ours by
level and schedule. In every round each takes one step on the same batch, in an order drawn anew, so
that all meet the same machine. A ratio is one of times over a whole period of the default schedule
(three rounds), and the median of these counts: load that comes and goes falls on both sides.
Two models: the CooperativeDetector of the mini config, and a toy of 8 convolution blocks on a
bird's-eye-view map with two heads. The last line is one JSON object; its ratios are the detector's,
the toy's are under ``toy``.
"""

import argparse
import copy
import json
import logging
import random
import statistics
import sys
import time
from collections import Counter
from functools import partial
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import nn
from torchjd.aggregation import PCGrad
from torchjd.autojac import jac_to_grad, mtl_backward

from tools.costs.memory import peak_megabytes
from turbotrain.balancing import (
    ConflictSuppressingOptimWrapper,
    PeriodicSchedule,
    task_losses,
)
from turbotrain.balancing.autograd_graph import reached_parameters
from turbotrain.recipes.circumstances import circumstances

CONFIG = ROOT / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py'
DEFAULT = PeriodicSchedule()
PERIOD = DEFAULT.free + DEFAULT.suppress
ALWAYS = dict(type='PeriodicSchedule', free=0)
WAYS = dict(
    plain='plain OptimWrapper',
    torchjd='TorchJD mtl_backward + PCGrad',
    parameters="level='parameters', every step",
    default=f"level='parameters', {DEFAULT.suppress} step in {PERIOD} (default)",
    when_needed="level='parameters', when needed",
    features="level='features', every step",
)
SCHEDULES = dict(
    parameters=ALWAYS, features=ALWAYS, default={}, when_needed=dict(type='WhenNeededSchedule')
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Time training steps with and without balancing')
    parser.add_argument('--data-root', type=Path, default=ROOT / 'data/mini_v2xpnp')
    parser.add_argument(
        '--periods', type=int, default=8, help=f'of {PERIOD} steps, that each way is timed over'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--model', choices=['both', 'detector', 'toy'], default='both')
    return parser.parse_args()


class ToyTrunk(BaseModel):
    """Eight blocks of convolution, batch norm and ReLU; two heads of one convolution."""

    tasks = dict(detection=['loss_detection'], prediction=['loss_prediction'])
    features = 'trunk'

    def __init__(self, channels: int = 64, blocks: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(blocks):
            layers += [
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
        self.trunk = nn.Sequential(*layers)
        self.detection = nn.Conv2d(channels, 8, 1)
        self.prediction = nn.Conv2d(channels, 12, 1)

    def forward(self, x: torch.Tensor, mode: str = 'loss') -> dict[str, torch.Tensor]:
        """Two losses."""
        bev = self.trunk(x)
        return dict(
            loss_detection=self.detection(bev).square().mean(),
            loss_prediction=(self.prediction(bev) - 1).abs().mean(),
        )


def build_toy(seed: int) -> tuple[BaseModel, list[dict], dict]:
    torch.manual_seed(seed)
    batches = [dict(x=torch.randn(2, 64, 64, 64)) for _ in range(4)]
    wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))
    return ToyTrunk(), batches, wrapper | dict(tasks=ToyTrunk.tasks, features='trunk')


def build_detector(data_root: Path, seed: int) -> tuple[BaseModel, list[dict], dict]:
    cfg = Config.fromfile(CONFIG)
    cfg.train_dataloader.dataset.data_root = str(data_root)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    torch.manual_seed(seed)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=seed)
    batches = [batch for batch, _ in zip(loader, range(4), strict=False)]
    model = MODELS.build(cfg.model)
    logging.disable(logging.INFO)
    model.init_weights()
    # A head that starts at 0 sends no gradient into the trunk: as if it had learned a little.
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.01)
    wrapper = {k: cfg.optim_wrapper[k] for k in ('optimizer', 'clip_grad', 'tasks')}
    return model, batches, wrapper | dict(features='bev_neck')


class Way:
    """One way to train: a model of its own and a step."""

    def __init__(self, name: str, model: BaseModel, settings: dict) -> None:
        self.name, self.model = name, copy.deepcopy(model).train()
        settings = copy.deepcopy(settings)
        optimizer = settings.pop('optimizer')
        self.tasks, self.features = settings.pop('tasks'), settings.pop('features')
        kind = getattr(torch.optim, optimizer.pop('type'))
        settings['optimizer'] = kind(self.model.parameters(), **optimizer)
        if name in ('plain', 'torchjd'):
            self.wrapper = OptimWrapper(**settings)
        else:
            level = dict(level='features', features=self.features) if name == 'features' else {}
            self.wrapper = ConflictSuppressingOptimWrapper(
                tasks=self.tasks, schedule=SCHEDULES[name], **level, **settings
            )
        if name == 'torchjd':
            self.model.get_submodule(self.features).register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple, output: object) -> None:
        self.kept = [output] if isinstance(output, torch.Tensor) else list(output)

    def step(self, batch: dict) -> None:
        """Train on a batch."""
        batch = copy.deepcopy(batch)
        if self.name != 'torchjd':
            self.model.train_step(batch, self.wrapper)
            return
        data = self.model.data_preprocessor(batch, True)
        output = self.model._run_forward(data, mode='loss')
        self.model.parse_losses(output)  # for the log, as in all other ways
        losses = task_losses(output, self.tasks)
        # One task at a time: vmap has no rule for compiled operators, and takes longer on a CPU.
        mtl_backward(list(losses.values()), features=self.kept, parallel_chunk_size=1)
        shared = [p for p in self.model.parameters() if getattr(p, 'jac', None) is not None]
        jac_to_grad(shared, PCGrad())
        self.wrapper.step()
        self.wrapper.zero_grad()


def build(name: str, args: argparse.Namespace) -> tuple[BaseModel, list[dict], dict]:
    return build_toy(args.seed) if name == 'toy' else build_detector(args.data_root, args.seed)


def measure_times(name: str, args: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of a step of each way, and median ratio of a period's time to plain's."""
    model, batches, settings = build(name, args)
    ways = [Way(way, model, settings) for way in WAYS]
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    order = random.Random(args.seed)
    for i in range(-PERIOD, PERIOD * args.periods):  # the first period warms up
        for way in order.sample(ways, len(ways)):
            start = time.perf_counter()
            way.step(batches[i % len(batches)])
            if i >= 0:
                seconds[way.name].append(time.perf_counter() - start)
    periods = {
        way: [sum(values[i : i + PERIOD]) for i in range(0, len(values), PERIOD)]
        for way, values in seconds.items()
    }
    ratios = {
        way: statistics.median(a / b for a, b in zip(values, periods['plain'], strict=True))
        for way, values in periods.items()
    }
    return {way: statistics.median(values) for way, values in seconds.items()}, ratios


def measure_memory(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Peak MB that a step of each way has allocated beyond what was there before it."""
    model, batches, settings = build(name, args)
    megabytes = {}
    for way in (Way(way, model, settings) for way in WAYS):
        way.step(batches[0])  # makes the optimiser's state
        peaks = [peak_megabytes(partial(way.step, batches[0])) for _ in range(PERIOD)]
        megabytes[way.name] = round(max(peaks), 2)
    return megabytes


def rows_megabytes(name: str, args: argparse.Namespace) -> float:
    """MB of tasks x shared parameters: what the tasks' gradients themselves take."""
    model, batches, settings = build(name, args)
    model.train()
    data = model.data_preprocessor(copy.deepcopy(batches[0]), True)
    losses = task_losses(model._run_forward(data, mode='loss'), settings['tasks']).values()
    index = {p: i for i, p in enumerate(model.parameters())}
    users = Counter(i for loss in losses for i in reached_parameters(loss, index).numbers)
    shared = [p for p, i in index.items() if users[i] > 1]
    return round(len(losses) * sum(p.numel() * p.element_size() for p in shared) / 2**20, 2)


def summarise(name: str, args: argparse.Namespace) -> dict:
    (times, ratios), megabytes = measure_times(name, args), measure_memory(name, args)
    print(f'\n{name:<44} {"ms":>8} {"x plain":>8} {"peak MB":>8}')
    for way, what in WAYS.items():
        print(f'{what:<44} {1e3 * times[way]:8.1f} {ratios[way]:8.2f} {megabytes[way]:8.1f}')
    return {f'{way}_over_plain': round(ratios[way], 3) for way in ratios if way != 'plain'} | dict(
        task_rows_megabytes=rows_megabytes(name, args),
        milliseconds={way: round(1e3 * times[way], 1) for way in WAYS},
        peak_megabytes=megabytes,
    )


def main() -> None:
    args = parse_args()
    import turbotrain.plugin  # noqa: F401 - registers everything

    init_default_scope('mmdet3d')
    names = ['detector', 'toy'] if args.model == 'both' else [args.model]
    results = {name: summarise(name, args) for name in names}
    first = results.pop(names[0])
    print(
        json.dumps(
            first
            | results
            | dict(
                seed=args.seed,
                periods=args.periods,
                torchjd=metadata.version('torchjd'),
                **circumstances(),
            )
        )
    )


if __name__ == '__main__':
    main()
