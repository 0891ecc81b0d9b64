"""Running recipes: their stages in turn, several recipes at a time."""

import json
import math
import statistics
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..engine import LAST_VALIDATION
from ..whole_file import write_whole
from .circumstances import circumstances
from .energy import EnergyMeter
from .processes import CommandError, Jobs, training_log
from .settings import Settings
from .stages import Change, Stage, stages_of


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
    if not is_trained(stage):
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


def is_trained(stage: Stage) -> bool:
    """Whether a stage's last checkpoint is there and, where it is validated, what that gave."""
    if not stage.checkpoint.exists() or not stage.config.get('val_cfg'):
        return stage.checkpoint.exists()
    log, noted = training_log(stage.folder), stage.folder / LAST_VALIDATION
    if not noted.exists():  # of an earlier version, or stopped in the first one
        return bool(log.validation)
    return int(noted.read_text()) >= log.train[-1]['step']


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
    locks = {stage.folder: threading.Lock() for stages in plans.values() for stage in stages}

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
