"""All stages of a recipe: ``python tools/run_recipe.py configs/recipes/manual.py``.

Runs the stages in their order, each from the weights of the one before, tests each, and writes
``{recipe}_seed-{seed}.json`` into the work directory, ``mini-{recipe}_...`` for those of
``configs/recipes/mini``: what each stage cost and reached. Typed again it goes on where it was
interrupted.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))

from turbotrain.commands import ROOT, run_tool
from turbotrain.recipes.runs import Run, run_all
from turbotrain.recipes.settings import add_arguments, precision_of, settings_of
from turbotrain.whole_file import write_whole

RECIPES = ROOT / 'configs/recipes'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('recipe', type=Path, help='a config in configs/recipes')
    parser.add_argument('--seed', type=int, default=0)
    add_arguments(parser)
    args = parser.parse_args()
    if not args.recipe.is_file():
        parser.error(f'there is no recipe {args.recipe}')
    return args


def main() -> None:
    args = parse_args()
    settings = settings_of(args)
    name = args.recipe.stem
    if args.recipe.is_relative_to(RECIPES):  # of which two folders hold the same names
        name = '-'.join(args.recipe.relative_to(RECIPES).with_suffix('').parts)
    if args.amp:
        name += '-amp'
    stages = run_all([Run(name, args.seed, args.recipe)], settings).get((name, args.seed))
    if stages is None:
        sys.exit(1)
    about = dict(
        recipe=name,
        seed=args.seed,
        split=args.split,
        epoch_iters=args.epoch_iters,
        amp=precision_of(args),
        data_root=args.data_root and args.data_root.name,
    )
    content = about | dict(stages=stages)
    results = settings.work_dir / f'{name}_seed-{args.seed}.json'
    write_whole(results, json.dumps(content, indent=1))
    print(f'results: {results}')


if __name__ == '__main__':
    run_tool(main)
