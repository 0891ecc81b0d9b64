"""Does it hold for other fusion methods? ``python tools/studies/generalisation.py``.

One-time training from scratch against TurboTrain, with the fusion neck of several methods of the
benchmark, at the same number of iterations in all; on the mini set. Writes ``docs/results.json``
and its table in ``docs/results.md``. Typed again it goes on where it was. Rows that were measured
at the same settings before, and are not asked for, stay. The last line is one JSON object.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

from mmengine.config import Config

from tools.benchmark.results import RESULTS
from tools.benchmark.zoo import method_configs
from tools.studies.arms import compare
from turbotrain.commands import run_tool
from turbotrain.recipes.settings import add_comparison_arguments

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
    paths = method_configs(mini=True)
    changes = {
        method: partial(
            take_fusion_neck, Config.fromfile(paths[method], import_custom_modules=False)
        )
        for method in args.methods
    }
    compare('generalisation', 'fusion', changes, list(paths), args)


if __name__ == '__main__':
    run_tool(main)
