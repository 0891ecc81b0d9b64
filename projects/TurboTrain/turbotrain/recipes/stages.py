"""Recipes: trainings in stages, each of which starts from the weights of the one before.

A recipe is a config of ``configs/recipes``: ``stages`` by name, each with a training config, its
length in ``epochs`` and the modules that start ``fresh``. A stage's folder is named after all that
decides its weights, so that a stage that two recipes share is trained once, an interrupted one is
gone on with, and one whose config was changed is trained anew.
"""

import argparse
import hashlib
import json
import math
import os
import statistics
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..commands import ROOT, enable_amp, need, read_config
from ..whole_file import write_whole
from .budget import train_for, train_for_epochs
from .circumstances import circumstances
from .energy import EnergyMeter
from .processes import CommandError, Jobs, training_log

RECIPES = ROOT / 'configs/recipes/mini'
# Of a config, what measures a training's weights, and what only watches it.
MEASURING = ('test_cfg', 'test_dataloader', 'test_evaluator')
WATCHING = (
    'default_hooks', 'log_level', 'log_processor', 'of_mode', 'vis_backends', 'visualizer',
    'work_dir',
)  # fmt: skip
Change = Callable[[str, Config], None]


@dataclass(frozen=True)
class Settings:
    """What is the same for all recipes that are compared.

    Attributes:
        work_dir: where the stages' folders are.
        split: ``'val'`` or ``'test'``: what the stages are measured on.
        epoch_iters: iterations that stand for an epoch, instead of the recipes' own.
        jobs: how many trainings run at a time.
        data_root: the data set's folder, instead of the configs' own.
        amp: whether trainings are in mixed precision.
    """

    work_dir: Path
    split: str = 'test'
    epoch_iters: int | None = None
    jobs: int = 1
    data_root: Path | None = None
    amp: bool = False


@dataclass(frozen=True)
class Stage:
    """One training of a recipe, ready to run."""

    name: str
    epochs: int
    config: Config
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """What the training leaves at its end."""
        loop = self.config.train_cfg
        name = f'iter_{loop.max_iters}' if 'max_iters' in loop else f'epoch_{loop.max_epochs}'
        return self.folder / f'{name}.pth'

    @property
    def measurement(self) -> Path:
        """The folder of its metrics, named after what they are measured with."""
        return self.folder / f'test-{digest({key: self.config.get(key) for key in MEASURING})}'

    @property
    def is_measured(self) -> bool:
        """Whether there is something to measure: not after pretraining."""
        return bool(self.config.get('test_evaluator'))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a command that runs recipes."""
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/recipes')
    parser.add_argument('--data-root', type=Path, help="default: the configs'")
    parser.add_argument('--split', choices=['val', 'test'], default='test', help='to measure on')
    parser.add_argument(
        '--epoch-iters', type=int, help='iterations for an epoch, instead of what recipes say'
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')


def add_comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a command that compares recipes."""
    add_arguments(parser)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--jobs', type=int, default=1, help='trainings at a time')


def settings_of(args: argparse.Namespace) -> Settings:
    """What the options of either say; changes to the project's root, see :func:`go_to_root`."""
    go_to_root(args)
    return Settings(
        work_dir=args.work_dir,
        split=args.split,
        epoch_iters=args.epoch_iters,
        jobs=getattr(args, 'jobs', 1),
        # A stage is the same wherever the project lies.
        data_root=args.data_root and from_root(args.data_root),
        amp=args.amp,
    )


def from_root(path: Path) -> Path:
    """A path as seen from the project's root, if it lies there."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def go_to_root(args: argparse.Namespace) -> None:
    """Change to the project's root, as configs' paths want it.

    Paths on the command line, which are relative to where it was typed, are made absolute before.
    """
    for name, value in vars(args).items():
        if isinstance(value, Path):
            setattr(args, name, value.resolve())
    os.chdir(ROOT)


def use_data_root(cfg: Config, data_root: Path | None) -> None:
    """Have all loaders of a config read another folder; None leaves them theirs."""
    for split in ('train', 'val', 'test') if data_root else ():
        if cfg.get(f'{split}_dataloader'):
            cfg[f'{split}_dataloader'].dataset.data_root = str(data_root)


def recipe_paths() -> dict[str, Path]:
    """Name of the recipe -> its config for the mini set."""
    return {path.stem: path for path in sorted(RECIPES.glob('*.py'))}


def stages_of(
    recipe: Path,
    seed: int,
    settings: Settings,
    change: Change | None = None,
    epochs: Mapping[str, int] | None = None,
    start: Path | None = None,
) -> Iterator[Stage]:
    """The stages of a recipe in their order.

    Args:
        recipe: its config.
        seed: of all stages.
        settings: see :class:`Settings`.
        change: called with the name and the config of each stage, to change the config.
        epochs: of stages by name, instead of the recipe's own; 0 leaves a stage out.
        start: checkpoint that the first stage starts from.
    """
    recipe_cfg = read_config(recipe)
    need(recipe_cfg, ['stages', 'val_epochs'])
    epoch_iters = settings.epoch_iters or recipe_cfg.epoch_iters
    for name, stage in recipe_cfg.stages.items():
        length = (epochs or {}).get(name, stage.epochs)
        if not length:
            continue
        cfg = Config.fromfile(ROOT / stage.config, import_custom_modules=False)
        use_data_root(cfg, settings.data_root)
        if settings.amp:
            enable_amp(cfg)
        if settings.split == 'val' and cfg.get('val_dataloader'):
            cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        if epoch_iters:
            every = recipe_cfg.val_epochs * epoch_iters
            train_for(cfg, length * epoch_iters, seed, every)
        else:
            train_for_epochs(cfg, length, seed, recipe_cfg.val_epochs)
        cfg.load_from, cfg.custom_hooks = None, []
        if start:
            cfg.load_from = str(start)
            cfg.custom_hooks = [dict(type='TransferReportHook', fresh=stage.get('fresh', ()))]
        if change:
            change(name, cfg)
        folder = settings.work_dir / f'seed_{seed}' / f'{name}-{fingerprint(cfg)}'
        made = Stage(name, length, cfg, folder)
        yield made
        start = made.checkpoint


def fingerprint(cfg: Config) -> str:
    """Eight digits that differ wherever the weights may that two configs lead to.

    Checkpoints count by their names and their folders', which are themselves fingerprints: work
    directories may be moved.
    """
    without = MEASURING + WATCHING
    values = {key: value for key, value in cfg.to_dict().items() if key not in without}
    return digest(
        with_texts(values, lambda text: Path(text).parts[-2:] if text.endswith('.pth') else text)
    )


def with_texts(value: Any, change: Callable[[str], Any]) -> Any:
    """A config's value, or the whole config, with every text in it changed."""
    if isinstance(value, dict):
        return {key: with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(with_texts(item, change) for item in value)
    return change(value) if isinstance(value, str) else value


def digest(values: dict) -> str:
    """Eight digits that differ wherever two dictionaries do."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_stage(stage: Stage, jobs: Jobs) -> dict:
    """Train and measure a stage, unless that is done.

    Args:
        stage: which.
        jobs: what runs its commands. Where nothing runs beside it, what the machine's counter of
            energy has counted is noted.

    Returns:
        Its figures, see :func:`figures`.

    Raises:
        CommandError: a command failed.
    """
    stage.folder.mkdir(parents=True, exist_ok=True)
    saved = stage.folder.with_suffix('.py')
    if not stage.checkpoint.exists():
        write_whole(saved, stage.config.pretty_text)
        write_whole(stage.folder / 'about.json', json.dumps(circumstances()))
        with EnergyMeter() as meter:
            jobs.call('train', stage.folder, saved, '--resume')
        if jobs.count == 1 and meter.joules:
            with (stage.folder / 'joules.txt').open('a') as file:
                file.write(f'{meter.joules}\n')
    if stage.is_measured and not (stage.measurement / 'metrics.json').exists():
        stage.measurement.mkdir(exist_ok=True)
        measured_with = stage.measurement / 'config.py'
        write_whole(measured_with, stage.config.pretty_text)
        jobs.call('test', stage.measurement, measured_with, stage.checkpoint)
    return figures(stage)


def figures(stage: Stage) -> dict:
    """What a stage has cost and reached.

    Returns:
        ``epochs``, ``iterations``, ``samples``, ``seconds_per_iteration`` (the median, loading
        included), ``train_seconds``, ``joules`` (None where the machine does not count them),
        ``conflict_rate`` at the end (None without balancing), ``metrics``, ``curve``, rows of
        iterations and the metrics of a validation then, and ``hardware`` and ``versions`` that it
        was trained with.
    """
    log = training_log(stage.folder)
    iterations = stage.config.train_cfg.get('max_iters') or log.iterations
    seconds = statistics.median(entry['time'] for entry in log.train)
    rates = [entry['conflict_rate'] for entry in log.train if 'conflict_rate' in entry]
    about = json.loads((stage.folder / 'about.json').read_text())
    joules, metrics = stage.folder / 'joules.txt', stage.measurement / 'metrics.json'
    return dict(
        epochs=stage.epochs,
        iterations=iterations,
        samples=iterations * stage.config.train_dataloader.batch_size,
        seconds_per_iteration=seconds,
        train_seconds=iterations * seconds,
        joules=sum(map(float, joules.read_text().split())) if joules.exists() else None,
        conflict_rate=rates[-1] if rates else None,
        metrics=finite(json.loads(metrics.read_text())) if metrics.exists() else {},
        curve=[[entry['step'], finite(entry)] for entry in log.validation],
        folder=stage.folder.name,
        **{key: about[key] for key in ('hardware', 'versions', 'date')},
    )


def finite(metrics: dict) -> dict:
    """Metrics without those that are not defined."""
    return {k: v for k, v in metrics.items() if isinstance(v, int | float) and math.isfinite(v)}


@dataclass(frozen=True)
class Run:
    """A recipe with a seed, perhaps changed, under a name of its own; see :func:`stages_of`."""

    name: str
    seed: int
    recipe: Path
    change: Change | None = None
    epochs: Mapping[str, int] | None = None
    start: Path | None = None


def run_all(runs: Iterable[Run], settings: Settings) -> dict[tuple[str, int], dict[str, dict]]:
    """Train and measure, several runs at a time; see :func:`run_stages`."""
    # All configs first: mmengine reads them in one thread only.
    plans = {
        (run.name, run.seed): list(
            stages_of(run.recipe, run.seed, settings, run.change, run.epochs, run.start)
        )
        for run in runs
    }
    return run_stages(plans, Jobs(settings.jobs))


def run_stages(
    plans: Mapping[tuple[str, int], list[Stage]], jobs: Jobs
) -> dict[tuple[str, int], dict[str, dict]]:
    """Run the stages of each plan in their order; a stage of several plans is run once.

    Args:
        plans: name and seed -> stages.
        jobs: what runs the commands.

    Returns:
        Name and seed -> stage -> figures. Plans of which a stage failed are missing.
    """
    locks: dict[Path, threading.Lock] = defaultdict(threading.Lock)

    def run_one(plan: tuple[str, int]) -> dict[str, dict] | None:
        found = {}
        label = f'{plan[0]}, seed {plan[1]}'
        for stage in plans[plan]:
            with locks[stage.folder]:
                try:
                    found[stage.name] = run_stage(stage, jobs)
                except CommandError as error:
                    print(f'{label}: {error}', flush=True)
                    return None
            print(f'{label}: {describe(stage, found[stage.name])}', flush=True)
        return found

    results = zip(plans, jobs.map(run_one, plans), strict=True)
    return {plan: found for plan, found in results if found is not None}


def describe(stage: Stage, found: dict) -> str:
    """One line on a stage that has ended."""
    metrics = found['metrics']
    reached = ', '.join(
        f'{label} {metrics[key]:.1f}'
        for label, key in {'AP@0.5': 'AP@0.5/vehicle', 'EPA': 'EPA'}.items()
        if key in metrics
    )
    return (
        f'{stage.name}: {found["iterations"]} iterations in {found["train_seconds"]:.0f} s'
        f'{f", {reached}" if reached else ""} ({stage.folder})'
    )
