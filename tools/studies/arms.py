"""The same change in several recipes, side by side."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from tools.benchmark.pages import markdown_table
from tools.benchmark.results import LABELS, cell, earlier, measured, save
from turbotrain.recipes.runs import Run, run_all
from turbotrain.recipes.settings import settings_of
from turbotrain.recipes.stages import Change, recipe_paths

ARMS = {'scratch': 'one-time_ma-mf', 'turbotrain': 'turbotrain'}
"""Name -> recipe; both take the same number of iterations in all."""
THREE_ARMS = {
    'scratch': 'one-time_ma-mf',
    'pretraining only': 'turbotrain_pretraining-only',
    'turbotrain': 'turbotrain',
}
"""The same, and what of the gain is pretraining's alone."""


def compare(
    experiment: str,
    kind: str,
    changes: Mapping[str, Change],
    order: Sequence[str],
    args: argparse.Namespace,
    arms: Mapping[str, str] = ARMS,
) -> NoReturn:
    """Run all arms with each change, keep the results, and end the command.

    Args:
        experiment: its name among the results.
        kind: what the changes are, for the head of the table.
        changes: by name.
        order: of the rows, those of earlier runs included.
        args: see :func:`~turbotrain.recipes.settings.add_comparison_arguments`, and ``out``.
        arms: name -> recipe.

    Raises:
        SystemExit: always; its code is 1 where not all was measured.
        UserError: see :func:`~tools.benchmark.results.earlier`.
    """
    recipes, settings = recipe_paths(), settings_of(args)
    earlier(experiment, changes, args)  # refuses what does not fit before anything is run
    runs = [
        Run(f'{name}/{arm}', seed, recipes[recipe], change)
        for name, change in changes.items()
        for arm, recipe in arms.items()
        for seed in args.seeds
    ]
    found = run_all(runs, settings)
    results = earlier(experiment, changes, args)
    for name in changes:
        for arm in arms:
            own = {seed: stages for (run, seed), stages in found.items() if run == f'{name}/{arm}'}
            if own:
                results.setdefault(name, {})[arm] = measured(own)
    results = {name: results[name] for name in order if name in results}
    rows = table(results, kind, len(args.seeds), arms)
    save(experiment, results, rows, args)
    print(f'\n{rows}')
    print(json.dumps({experiment: results, 'split': args.split, 'seeds': args.seeds}))
    sys.exit(0 if len(found) == len(runs) else 1)


def table(
    results: Mapping[str, Mapping[str, dict]],
    kind: str,
    num_seeds: int,
    arms: Iterable[str] = ARMS,
) -> str:
    """A row for each change, the arms side by side."""

    def content(row: Mapping[str, dict], metric: str, arm: str) -> str:
        return cell(row[arm], metric, num_seeds) if arm in row else '–'

    columns = [(metric, arm) for metric in LABELS for arm in arms]
    head = (kind, *(f'{LABELS[metric]}, {arm}' for metric, arm in columns))
    return markdown_table(
        head,
        [
            (name, *(content(row, metric, arm) for metric, arm in columns))
            for name, row in results.items()
        ],
    )
