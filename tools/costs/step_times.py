"""How long a step of training takes: ``python tools/costs/step_times.py`` (on the mini set).

Compares the code as it is with that of an older commit. Both train mini's configs, each by its own
files, from the weights of the older one, on the same batches and random numbers. They take steps in
turn. A ratio is one of times over a period of free and suppressing steps, and the median of these
counts. Times are processor time on a CPU. Memory is what a step allocates at its peak. The last
line is one JSON object of ratios, new over old; ``loss_difference`` says how far the losses of the
first ten steps differ, relative to the older commit's. ``floor`` is how many times a step of
fine-tuning takes what its convolutions and matrix products would, at the rate of a convolution. On
a CPU ``busy_neighbours`` is the time of a step beside four busy processes, over what its fair
share of the cores makes of a step alone.

:func:`step_seconds` compares the trainings of several configs by the code as it is.
"""

import argparse
import itertools
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import turbotrain.commands  # noqa: F401 - how threads wait, before torch is loaded

# isort: split
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from tools.costs.arithmetic import wall_seconds
from turbotrain.engine import keep_freed_memory
from turbotrain.recipes.circumstances import circumstances

__all__ = ['Step', 'kind_of', 'step_seconds']

ROUNDS = 96  # divisible by mini's period; so many samples have as many agents as the set has
PERIOD = 4  # mini's
CONFIGS = dict(
    finetune='mini/finetune_mini_v2xpnp.py',
    pretrain='mini/pretrain_mini_v2xpnp.py',
    full='finetune_v2xpnp.py',
)
NEIGHBOURS = 4
AGENTS, FRAMES = 4, 5  # of the full-size sample


def step_seconds(trainings: Mapping[str, Config], rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds of a training step without loading, by name.

    In every round each kind of training takes a step on one sample after the other, so that all
    meet the same machine. Means count: steps differ by whether they suppress conflicts and by how
    many agents there are.

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
    return {name: statistics.mean(times[kind]) for name, kind in names.items()}


def kind_of(cfg: Config) -> str:
    """What decides how long a training step takes."""
    parts = cfg.model, cfg.optim_wrapper, cfg.train_dataloader.dataset
    return json.dumps([part.to_dict() for part in parts], default=str)


def period_of(cfg: Config) -> int:
    """How many steps there are until free and suppressing ones begin anew."""
    schedule = cfg.optim_wrapper.get('schedule', {})
    return schedule.get('free', 0) + schedule.get('suppress', 0) or 1


class Step:
    """A training, a step at a time."""

    def __init__(self, cfg: Config) -> None:
        keep_freed_memory()
        # paramwise_cfg has every parameter told in five lines.
        MMLogger.get_current_instance().setLevel('WARNING')
        torch.manual_seed(0)
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.model = MODELS.build(cfg.model).to(device).train()
        self.optimizer = build_optim_wrapper(self.model, cfg.optim_wrapper)
        loader = {**cfg.train_dataloader, 'num_workers': 0, 'persistent_workers': False}
        loader = Runner.build_dataloader(loader, seed=0)
        self.batches = itertools.chain.from_iterable(itertools.repeat(loader))
        self.period = period_of(cfg)

    def run(self) -> float:
        """Seconds of one step; loading does not count."""
        batch = next(self.batches)
        start = wall_seconds()
        self.model.train_step(batch, self.optimizer)
        return wall_seconds() - start


class Side:
    """A training by the code of one commit, in a process of its own."""

    def __init__(self, tree: Path, config: str, folder: Path, threads: int) -> None:
        path = os.pathsep.join(map(str, (tree / 'projects/TurboTrain', ROOT)))
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'tools.costs.step_worker', config, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tree,  # the package is what lies here, `tools` are ours
            env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': str(threads)},
        )

    def ask(self, command: str) -> dict:
        """What it answers to ``step``, ``memory``, ``operations`` or ``rate``."""
        print(command, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f'{" ".join(self.process.args)} failed, see above')
        return json.loads(answer)

    def end(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def unpack(commit: str, folder: Path) -> None:
    """Put the package and the configs of a commit into a folder."""
    archive = subprocess.run(
        ['git', 'archive', commit, 'projects', 'configs'], cwd=ROOT, capture_output=True
    )
    if archive.returncode:
        sys.exit(f'--against {commit}: {archive.stderr.decode().strip()}')
    subprocess.run(['tar', '-x', '-C', folder], input=archive.stdout, check=True)


def save_batches(name: str, data_root: Path, path: Path) -> None:
    """Batches of a training as the data loader gives them; of the full size a whole sample."""
    cfg = Config.fromfile(ROOT / 'configs/turbotrain' / CONFIGS[name])
    cfg.train_dataloader.dataset.data_root = str(data_root)
    cfg.train_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False)
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    loader = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
    if name != 'full':
        batches = [next(loader) for _ in range(PERIOD + 1)]  # suppressing steps meet all of them
    else:
        whole = (b for b in loader if b['data_samples'][0].agents.valid.sum() == AGENTS * FRAMES)
        batches = [next(whole)]
    path.write_bytes(pickle.dumps(batches))


def compare(name: str, old_tree: Path, args: argparse.Namespace) -> dict[str, float]:
    """Print the table of a training; its ratios, new over old."""
    config = f'configs/turbotrain/{CONFIGS[name]}'
    with tempfile.TemporaryDirectory() as folder:
        save_batches(name, args.data_root, Path(folder) / 'batches.pickle')
        old = Side(old_tree, config, Path(folder), args.threads)
        first = [old.ask('step')]  # its weights are there now
        new = Side(ROOT, config, Path(folder), args.threads)
        sides = dict(old=old, new=new)
        steps = dict(old=first, new=[new.ask('step')])
        period, periods = PERIOD, args.periods
        if name == 'full':
            period, periods = period_of(Config.fromfile(ROOT / config)), 1
        for i in range(1, period * (periods + 1)):  # the first period warms up
            for side in ('old', 'new') if i % 2 else ('new', 'old'):
                steps[side].append(sides[side].ask('step'))
        peaks = {
            side: max(process.ask('memory')['megabytes'] for _ in range(period))
            for side, process in sides.items()
        }
        floor = None
        if name == 'finetune':
            operations = sum(new.ask('operations')['operations'] for _ in range(period))
            floor = operations / new.ask('rate')['rate']
        for side in sides.values():
            side.end()
    timed = {side: values[period:] for side, values in steps.items()}
    print_table(name, timed, peaks)
    sums = {
        side: [
            sum(s['total'] for s in values[i : i + period]) for i in range(0, len(values), period)
        ]
        for side, values in timed.items()
    }
    losses = zip(steps['old'][:10], steps['new'][:10], strict=True)
    found = {
        f'{name}_time': statistics.median(
            n / o for o, n in zip(sums['old'], sums['new'], strict=True)
        ),
        f'{name}_memory': peaks['new'] / peaks['old'],
        f'{name}_loss_difference': max(abs(n['loss'] / o['loss'] - 1) for o, n in losses),
    }
    return found if floor is None else found | dict(floor=statistics.median(sums['new']) / floor)


def beside_neighbours(args: argparse.Namespace) -> float:
    """How long a fine-tuning step takes beside busy processes, over its fair share of the cores."""
    cores, threads = os.cpu_count() or 1, args.threads
    with tempfile.TemporaryDirectory() as folder:
        save_batches('finetune', args.data_root, Path(folder) / 'batches.pickle')
        side = Side(ROOT, f'configs/turbotrain/{CONFIGS["finetune"]}', Path(folder), threads)

        def wall(steps: int = 2 * PERIOD) -> float:
            start = time.perf_counter()
            for _ in range(steps):
                side.ask('step')
            return time.perf_counter() - start

        wall()  # warms up
        alone = wall()
        spin = [sys.executable, '-c', 'while True: pass']
        neighbours = [subprocess.Popen(spin) for _ in range(NEIGHBOURS)]
        try:
            beside = wall()
        finally:
            for neighbour in neighbours:
                neighbour.kill()
        side.end()
    return beside / alone / max(1, (threads + NEIGHBOURS) / cores)


def print_table(name: str, steps: dict[str, list[dict]], peaks: dict[str, float]) -> None:
    """Mean milliseconds of each part, forward and backward, and what is left of the step."""
    means: dict[str, Counter] = {}
    for side, values in steps.items():
        mean = means[side] = Counter()
        for step in values:
            for way in ('forward', 'backward'):
                for part, value in step[way].items():
                    mean[part, way] += 1e3 * value / len(values)
            mean['step', 'total'] += 1e3 * step['total'] / len(values)
    parts = dict.fromkeys(part for mean in means.values() for part, _ in mean if part != 'step')
    print(f'\n{name:<22}{"forward (ms)":>20}{"backward (ms)":>24}{"ratio":>8}')
    print(f'{"":<22}{"old":>10}{"new":>10}{"old":>14}{"new":>10}')
    for part in parts:
        forward, backward = (
            [means[side][part, way] for side in ('old', 'new')] for way in ('forward', 'backward')
        )
        before, after = (f + b for f, b in zip(forward, backward, strict=True))
        ratio = f'{after / before:8.2f}' if before else ''
        print(
            f'{part:<22}{forward[0]:10.1f}{forward[1]:10.1f}'
            f'{backward[0]:14.1f}{backward[1]:10.1f}{ratio}'
        )
    before, after = (means[side]['step', 'total'] for side in ('old', 'new'))
    rest = [2 * means[side]['step', 'total'] - sum(means[side].values()) for side in ('old', 'new')]
    print(f'{"the rest":<42}{rest[0]:14.1f}{rest[1]:10.1f}')
    print(f'{"step (ms)":<42}{before:14.1f}{after:10.1f}{after / before:8.2f}')
    print(
        f'{"peak memory (MB)":<42}{peaks["old"]:14.1f}{peaks["new"]:10.1f}'
        f'{peaks["new"] / peaks["old"]:8.2f}',
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description='Time training steps against an older commit')
    parser.add_argument('--against', default='f4302ca', metavar='COMMIT')
    parser.add_argument('--data-root', type=Path, default=ROOT / 'data/mini_v2xpnp')
    parser.add_argument('--periods', type=int, default=8, help=f'of {PERIOD} steps that are timed')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--full', action='store_true', help='the full-size config, too')
    args = parser.parse_args()
    args.data_root = args.data_root.resolve()
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        unpack(args.against, Path(folder))
        for name in CONFIGS if args.full else ('finetune', 'pretrain'):
            ratios |= compare(name, Path(folder), args)
    if not torch.cuda.is_available():
        ratios['busy_neighbours'] = beside_neighbours(args)
    ratios = {key: float(f'{value:.3g}') for key, value in ratios.items()}
    print(json.dumps(dict(**ratios, against=args.against, threads=args.threads, **circumstances())))


if __name__ == '__main__':
    main()
