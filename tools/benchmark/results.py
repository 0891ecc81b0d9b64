"""What the experiments on recipes leave: ``docs/results.json`` and the tables of its page."""

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from tools.benchmark.pages import replace_table
from turbotrain.commands import ROOT
from turbotrain.errors import UserError
from turbotrain.recipes.circumstances import circumstances
from turbotrain.recipes.settings import precision_of
from turbotrain.whole_file import write_whole

RESULTS, PAGE = ROOT / 'docs/results.json', ROOT / 'docs/results.md'
METRICS = {'ap50': 'AP@0.5/vehicle', 'map50': 'mAP@0.5', 'epa': 'EPA'}
LABELS = {'ap50': 'AP@0.5 of vehicles', 'map50': 'mAP@0.5', 'epa': 'EPA'}


def spread(values: Iterable[float]) -> tuple[float, float | None]:
    """Mean and standard deviation, which a single value does not have."""
    values = list(values)
    std = statistics.stdev(values) if len(values) > 1 else None
    return round(statistics.mean(values), 4), None if std is None else round(std, 4)


def summary(runs: Iterable[dict]) -> dict:
    """Metrics of the same thing with several seeds.

    Args:
        runs: a run's metrics each. One without forecasts has no EPA, and that counts as 0: as
            in the paper's figure.

    Returns:
        The mean by name of :data:`METRICS`, ``std`` and ``values`` by name.
    """
    rows = [{name: row.get(key, 0.0) for name, key in METRICS.items()} for row in runs]
    values = {name: [round(row[name], 2) for row in rows] for name in METRICS}
    spreads = {name: spread(column) for name, column in values.items()}
    return dict(
        {name: mean for name, (mean, _) in spreads.items()},
        std={name: std for name, (_, std) in spreads.items()},
        values=values,
    )


def measured(runs: Mapping[int, Mapping[str, dict]]) -> dict:
    """What a row of a table keeps of its runs.

    Args:
        runs: seed -> stage -> its figures, see
            :func:`~turbotrain.recipes.runs.figures`.

    Returns:
        The :func:`summary` of the last stages, ``seeds``, and ``trained_on``: hardware, torch and
        date of all trainings.
    """
    stages = [stage for run in runs.values() for stage in run.values()]
    on = {f'{s["hardware"]}, torch {s["versions"]["torch"]}, {s["date"]}' for s in stages}
    last = [list(run.values())[-1]['metrics'] for run in runs.values()]
    return summary(last) | dict(seeds=list(runs), trained_on=sorted(on))


def cell(row: dict, name: str, num_seeds: int = 0, digits: int = 1) -> str:
    """A metric of a summary as text, with its spread, and where seeds failed how many did not."""
    text = mean_and_spread(row[name], row['std'][name], digits)
    reached = len(row.get('seeds', range(num_seeds)))
    return text if reached >= num_seeds else f'{text} ({reached} of {num_seeds} seeds)'


def mean_and_spread(mean: float, std: float | None, digits: int = 1) -> str:
    """What :func:`spread` gives, as text."""
    return f'{mean:.{digits}f}' + ('' if std is None else f' ± {std:.{digits}f}')


def load(path: Path = RESULTS) -> dict:
    """All that was measured, by experiment."""
    return json.loads(path.read_text()) if path.exists() else {}


def typed() -> str:
    """The command that runs, with its tool named from the project's root."""
    # Of the module, as sys.argv has it relative to where the command was typed.
    tool = Path(sys.modules['__main__'].__file__).resolve().relative_to(ROOT)
    return shlex.join(['python', str(tool), *sys.argv[1:]])


def conditions(args: argparse.Namespace) -> dict:
    """What rows of one table have in common.

    Args:
        args: see :func:`~turbotrain.recipes.settings.add_comparison_arguments`.
    """
    data_root = args.data_root and args.data_root.name
    common = dict(
        split=args.split, seeds=args.seeds, epoch_iters=args.epoch_iters, data_root=data_root
    )
    precision = precision_of(args)
    return common | (dict(amp=precision) if precision else {})  # as before there was a choice


def earlier(experiment: str, asked: Collection[str], args: argparse.Namespace) -> dict[str, dict]:
    """Rows that an experiment has of an earlier run and that are not asked for now.

    Args:
        experiment: its name among the results.
        asked: the rows that are measured now.
        args: see :func:`conditions`, and ``out``, the file of results.

    Raises:
        UserError: they were measured under other conditions, or the page of :data:`RESULTS` has no
            place for the experiment.
    """
    if args.out == RESULTS and f'<!-- {experiment} -->' not in PAGE.read_text():
        raise UserError(f'{PAGE} has no place for {experiment}: name another file by --out')
    found, now = load(args.out), conditions(args)
    kept = {name: row for name, row in found.get(experiment, {}).items() if name not in asked}
    before = found.get(f'{experiment}_about', {}).get('conditions')
    if kept and before != now:
        raise UserError(
            f'{args.out} has {sorted(kept)} of {experiment}, measured with '
            f'{before or "settings that it does not tell"}, not with {now}: name another file by '
            '--out, or measure these, too'
        )
    return kept


def save(experiment: str, results: dict, table: str, args: argparse.Namespace) -> None:
    """Keep an experiment's results beside the others', and renew its table on the page.

    Args:
        experiment: its name among the results.
        results: by row, those of :func:`earlier` included.
        table: the same, as the page shows it.
        args: see :func:`earlier`.
    """
    path: Path = args.out
    path.parent.mkdir(parents=True, exist_ok=True)
    about = circumstances(typed()) | dict(conditions=conditions(args))
    found = load(path) | {experiment: results, f'{experiment}_about': about}
    write_whole(path, json.dumps(found, indent=1) + '\n')
    if path == RESULTS:
        write_whole(PAGE, replace_table(PAGE.read_text(), experiment, table))
