"""Which balancer, and how often? ``python tools/studies/aggregators.py``.

Fine-tunes one pretrained trunk of the mini set with each aggregator in mini's schedule, with PCGrad
in several schedules and at the features, and without suppression on each scalarization of the
losses and with fixed weights about the configs'; measures a step of each. Writes
``docs/results.json`` and its table in ``docs/results.md``. Typed again it goes on where it was.
Rows that were measured at the same settings before, and are not asked for, stay. The last line is
one JSON object.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

from mmengine.config import Config

from tools.benchmark.pages import markdown_table, number
from tools.benchmark.results import LABELS, RESULTS, cell, earlier, measured, save, spread
from tools.costs.step_times import step_seconds
from turbotrain.balancing import AGGREGATORS, LOSS_BALANCERS
from turbotrain.commands import run_tool
from turbotrain.recipes.runs import Run, run_all
from turbotrain.recipes.settings import add_comparison_arguments, settings_of
from turbotrain.recipes.stages import recipe_paths, stages_of

SCHEDULES = {
    'never': dict(type='PeriodicSchedule', free=1, suppress=0),
    'every 4th step': dict(type='PeriodicSchedule', free=3, suppress=1),
    'every 2nd step': dict(type='PeriodicSchedule', free=1, suppress=1),
    'always': dict(type='PeriodicSchedule', free=0, suppress=1),
    'when needed': dict(type='WhenNeededSchedule'),
}
WAYS = (
    {name: dict(aggregator=dict(type=name)) for name in sorted(AGGREGATORS.module_dict)}
    | {f'PCGrad, {name}': dict(schedule=schedule) for name, schedule in SCHEDULES.items()}
    | {'PCGrad, at the features': dict(level='features', features='fusion_neck')}
    | {
        f"prediction's weight x {factor:g}": dict(
            balancer=dict(type='FixedWeights', weights=dict(prediction=factor)),
            schedule=SCHEDULES['never'],
        )
        for factor in (0.2, 5)
    }
    | {
        name: dict(balancer=dict(type=name), schedule=SCHEDULES['never'])
        for name in sorted(set(LOSS_BALANCERS.module_dict) - {'FixedWeights'})
    }
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_comparison_arguments(parser)
    parser.add_argument('--out', type=Path, default=RESULTS, help='JSON file')
    parser.add_argument('--ways', nargs='+', choices=WAYS, default=list(WAYS), metavar='WAY')
    return parser.parse_args()


def balance(settings: dict, stage: str, cfg: Config) -> None:
    """Change how the fine-tuning is balanced."""
    if stage == 'finetuning':
        for key, value in settings.items():
            cfg.optim_wrapper[key] = value


def main() -> None:
    args = parse_args()
    recipe = recipe_paths()['turbotrain']
    ways = {name: WAYS[name] for name in args.ways}
    runs = [
        Run(name, seed, recipe, partial(balance, way))
        for name, way in ways.items()
        for seed in args.seeds
    ]
    settings = settings_of(args)
    earlier('aggregators', ways, args)  # refuses what does not fit before anything is run
    found = run_all(runs, settings)
    results = earlier('aggregators', ways, args)
    seconds = step_seconds(
        {
            name: stage.config
            for name in (*ways, *results)
            for stage in stages_of(recipe, 0, settings, partial(balance, WAYS[name]))
            if stage.name == 'finetuning'
        }
    )
    for name in ways:
        own = {seed: stages for (way, seed), stages in found.items() if way == name}
        if not own:
            continue
        rates = [stages['finetuning']['conflict_rate'] for stages in own.values()]
        rates = [rate for rate in rates if rate is not None]
        results[name] = measured(own) | dict(conflict_rate=spread(rates)[0] if rates else None)
    results = {name: results[name] for name in WAYS if name in results}
    for name, row in results.items():
        row['step_seconds'] = round(seconds[name], 3)
    rows = table(results, len(args.seeds))
    save('aggregators', results, rows, args)
    print(f'\n{rows}')
    print(json.dumps(dict(aggregators=results, split=args.split, seeds=args.seeds)))
    sys.exit(0 if len(found) == len(runs) else 1)


def table(results: dict, num_seeds: int) -> str:
    """A row for each way of balancing."""
    rows = [
        (
            name,
            *(cell(row, metric, num_seeds) for metric in LABELS),
            number(1e3 * row['step_seconds'], 0),
            number(row['conflict_rate'], 2),
        )
        for name, row in results.items()
    ]
    head = ('balancing', *LABELS.values(), 'ms a step', 'conflict rate')
    return markdown_table(head, rows)


if __name__ == '__main__':
    run_tool(main)
