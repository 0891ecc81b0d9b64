"""The paper's Figure 1 on the mini set: ``python tools/studies/figure1.py``.

Runs all recipes of ``configs/recipes/mini`` with three seeds, in budgets proportional to the
authors' 45 and 120 epochs, measures the step of each kind of stage, and writes
``docs/results.json``, the table in ``docs/results.md`` and ``docs/figure1.png``: AP@0.5 across, EPA
up, the stages of a recipe joined by arrows, the paper's points beside ours; and EPA over training
time. ``--labels 5`` compares them where 5 % of the scenarios are labelled: pretraining sees the
clouds of all. Hours on two cores, minutes on a GPU with ``--jobs 16``; typed again it goes on where
it was. Rows that were measured at the same settings before, and are not asked for, stay. The last
line is one JSON object.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

from mmengine.config import Config
from mmengine.registry import init_default_scope

from tools.benchmark.pages import markdown_table
from tools.benchmark.results import (
    LABELS,
    METRICS,
    RESULTS,
    cell,
    earlier,
    measured,
    save,
    summary,
)
from tools.costs.step_times import step_seconds
from tools.studies.figure1_drawing import PAPER, draw, epa_over_time
from tools.studies.shares import SHARES, label_share
from turbotrain.commands import read_config, run_tool
from turbotrain.recipes.runs import Run, run_all
from turbotrain.recipes.settings import add_comparison_arguments, settings_of
from turbotrain.recipes.stages import recipe_paths, stages_of

SHORTER = 'one-time_ma-mf_labelled-steps'
"""One-time training for as many steps as TurboTrain takes with labels, not as it takes in all."""
ORDER = (
    'one-time_sa-mf', 'one-time_ma-sf', SHORTER, 'one-time_ma-mf', 'manual',
    'turbotrain_pretraining-only', 'turbotrain',
)  # fmt: skip


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_comparison_arguments(parser)
    parser.add_argument('--out', type=Path, default=RESULTS, help='JSON file')
    parser.add_argument('--recipes', nargs='+', choices=ORDER, default=ORDER)
    parser.add_argument(
        '--labels', choices=SHARES, default='100', help='percent of the scenarios, or one of them'
    )
    return parser.parse_args()


def summarise(
    found: dict, recipes: list[str], seconds: dict[str, float], kept: dict | None = None
) -> dict:
    """Each recipe's metrics over the seeds, its stages', and what its training costs.

    ``kept`` has those of earlier runs. ``seconds`` of a step are of all of them, measured in turn.
    """
    results = dict(kept or {})
    for name in recipes:
        runs = {seed: stages for (recipe, seed), stages in found.items() if recipe == name}
        if not runs:
            continue
        stages = {}
        for stage, figures in next(iter(runs.values())).items():
            own = [run[stage] for run in runs.values()]
            stages[stage] = dict(
                epochs=figures['epochs'],
                samples=figures['samples'],
                joules=[one['joules'] for one in own],
            )
            if figures['metrics']:
                stages[stage] |= summary(one['metrics'] for one in own)
                stages[stage]['curves'] = [curve(one) for one in own]
        results[name] = measured(runs) | dict(
            epochs=sum(stage['epochs'] for stage in stages.values()),
            samples=sum(stage['samples'] for stage in stages.values()),
            stages=stages,
        )
    results = {name: results[name] for name in ORDER if name in results}
    for name, row in results.items():
        for key, stage in row['stages'].items():
            stage['step_seconds'] = seconds[f'{name}/{key}']
        stages = row['stages'].values()
        row['train_seconds'] = sum(stage['samples'] * stage['step_seconds'] for stage in stages)
    manual = results.get('manual')
    _, epa = epa_over_time(manual) if manual else ([], [])
    for row in results.values():
        row['compute'] = manual and round(row['train_seconds'] / manual['train_seconds'], 3)
        row['seconds_to_manual_epa'] = seconds_to(epa[-1], row) if epa else None
    return results


def seconds_to(epa: float, row: dict) -> float | None:
    """Seconds of training until a recipe's validations reach an EPA (%); None if they do not."""
    reached = [t for t, value in zip(*epa_over_time(row), strict=True) if value >= epa]
    return round(reached[0], 1) if reached else None


def curve(stage: dict) -> list[list[float]]:
    """Iterations, EPA and AP@0.5 of vehicles (%) of the validations on the way and at the end."""
    return [
        [step, *(round(row.get(METRICS[name], 0.0), 2) for name in ('epa', 'ap50'))]
        for step, row in stage['curve']
    ]


def table(results: dict, num_seeds: int) -> str:
    """The recipes, one row each."""
    rows = [
        (
            f'[{name}](../configs/recipes/mini/{recipe_of(name)}.py)',
            f'{row["epochs"]}',
            '–' if row['compute'] is None else f'{row["compute"]:.3f}',
            *(cell(row, metric, num_seeds) for metric in LABELS),
            ', '.join(map(str, list(PAPER[name].values())[-1])) if name in PAPER else '–',
        )
        for name, row in results.items()
    ]
    head = ('recipe', 'epochs', 'compute', *LABELS.values(), "paper's AP@0.5, EPA")
    return markdown_table(head, rows)


def recipe_of(name: str) -> str:
    """The recipe's config by the name of what is compared."""
    return 'one-time_ma-mf' if name == SHORTER else name


def use_labels(share: str, seed: int, _: str, cfg: Config) -> None:
    """Have a stage see a share of the labels, if it sees any."""
    if share != '100' and cfg.get('test_evaluator'):
        label_share(cfg, share, seed)


def plan(names: Sequence[str], seeds: Sequence[int], labels: str = '100') -> list[Run]:
    """What to run for some of :data:`ORDER`, on a share of the labels."""
    paths = recipe_paths()
    labelled = dict(joint=read_config(paths['turbotrain']).stages.finetuning.epochs)
    return [
        Run(
            name,
            seed,
            paths[recipe_of(name)],
            partial(use_labels, labels, seed),
            labelled if name == SHORTER else None,
        )
        for seed in seeds
        for name in names
    ]


def title(args: argparse.Namespace) -> str:
    """What the picture says of its data."""
    data = args.data_root.name if args.data_root else 'mini_v2xpnp'
    share = {'100': '', 'one': ', one labelled scenario'}
    return f'Ours, {data}{share.get(args.labels, f", {args.labels} % of its labels")}'


def main() -> None:
    args = parse_args()
    recipes = [name for name in ORDER if name in args.recipes]
    paths, settings = recipe_paths(), settings_of(args)
    init_default_scope('mmdet3d')
    experiment = 'recipes' if args.labels == '100' else f'recipes_{args.labels}'
    earlier(experiment, recipes, args)  # refuses what does not fit before anything is run
    # Seed by seed, so that what is there of an interrupted command can be compared; of each the
    # longest first, so that no job is left alone at the end.
    runs = plan(sorted(recipes, key=lambda name: name != 'manual'), args.seeds, args.labels)
    found = run_all(runs, settings)
    kept = earlier(experiment, recipes, args)
    seconds = step_seconds(
        {
            f'{name}/{stage.name}': stage.config
            for name in (*recipes, *kept)
            for stage in stages_of(paths[recipe_of(name)], 0, settings)
        }
    )
    results = summarise(found, recipes, seconds, kept)
    rows = table(results, len(args.seeds))
    save(experiment, results, rows, args)
    picture = experiment.replace('recipes', 'figure1')
    draw(results, args.out.with_name(f'{picture}.png'), title(args))
    print(f'\n{rows}')
    short = {
        k: {m: row[m] for m in ('ap50', 'epa', 'std', 'compute')} for k, row in results.items()
    }
    print(json.dumps(dict(recipes=short, split=args.split, seeds=args.seeds)))
    sys.exit(0 if len(found) == len(recipes) * len(args.seeds) else 1)


if __name__ == '__main__':
    run_tool(main)
