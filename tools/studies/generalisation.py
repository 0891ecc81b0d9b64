"""Does it hold for other fusion methods? ``python tools/studies/generalisation.py``.

One-time training from scratch against TurboTrain, with the fusion neck of several methods of the
benchmark, at the same number of iterations in all; on the mini set. Writes ``docs/results.json``
and its table in ``docs/results.md``. Typed again it goes on where it was. The last line is one JSON
object.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

from mmengine.config import Config

from tools.benchmark.pages import markdown_table
from tools.benchmark.results import RESULTS, cell, save, summary
from tools.benchmark.zoo import method_configs
from turbotrain.recipes.stages import (
    Run,
    add_comparison_arguments,
    recipe_paths,
    run_all,
    settings_of,
)

ARMS = {'scratch': 'one-time_ma-mf', 'turbotrain': 'turbotrain'}
METHODS = ('v2xpnp', 'v2xvit', 'f-cooper', 'v2vnet')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_comparison_arguments(parser)
    parser.add_argument('--out', type=Path, default=RESULTS, help='JSON file')
    known = method_configs(mini=True)
    parser.add_argument('--methods', nargs='+', choices=[*known], default=METHODS)
    return parser.parse_args()


def take_fusion_neck(method: Config, _: str, cfg: Config) -> None:
    """Give a stage's detector the method's fusion neck."""
    detector = cfg.model.get('detector', cfg.model)
    detector.fusion_neck = method.model.fusion_neck


def main() -> None:
    args = parse_args()
    paths, recipes = method_configs(mini=True), recipe_paths()
    runs = [
        Run(f'{method}/{arm}', seed, recipes[recipe], partial(take_fusion_neck, opened))
        for method in args.methods
        for opened in [Config.fromfile(paths[method], import_custom_modules=False)]
        for arm, recipe in ARMS.items()
        for seed in args.seeds
    ]
    found = run_all(runs, settings_of(args))
    results: dict = {}
    for method in args.methods:
        for arm in ARMS:
            measured = [
                list(stages.values())[-1]['metrics']
                for (name, _), stages in found.items()
                if name == f'{method}/{arm}'
            ]
            if measured:
                results.setdefault(method, {})[arm] = summary(measured)
    rows = table(results)
    save('generalisation', results, rows, args.out)
    print(f'\n{rows}')
    print(json.dumps(dict(generalisation=results, split=args.split, seeds=args.seeds)))
    sys.exit(0 if len(found) == len(runs) else 1)


def table(results: dict) -> str:
    """A row for each method and way of training."""
    rows = [
        (f'{method}, {arm}', *(cell(row, metric) for metric in ('ap50', 'map50', 'epa')))
        for method, arms in results.items()
        for arm, row in arms.items()
    ]
    return markdown_table(('fusion', 'AP@0.5 of vehicles', 'mAP@0.5', 'EPA'), rows)


if __name__ == '__main__':
    main()
