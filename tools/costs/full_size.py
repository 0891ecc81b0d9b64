"""The full-size configs at work: ``python tools/costs/full_size.py``.

Trains each kind of stage of the full-size recipes for a few steps, with the real thing's range,
grid and channels, on the clouds of the simulated mini set. Prints seconds a step, without loading,
and the memory at the peak. The last line is one JSON object.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

from mmengine.registry import init_default_scope

from tools.costs.memory import peak_megabytes
from tools.costs.step_times import Step, kind_of
from turbotrain.recipes.circumstances import circumstances
from turbotrain.recipes.settings import Settings
from turbotrain.recipes.stages import stages_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data-root', type=Path, default=ROOT / 'data/mini_v2xpnp')
    parser.add_argument('--batch-size', type=int, help="samples; default: the config's")
    parser.add_argument('--steps', type=int, default=2)
    args = parser.parse_args()
    init_default_scope('mmdet3d')
    seen, rows = set(), {}
    for recipe in sorted((ROOT / 'configs/recipes').glob('*.py')):
        for stage in stages_of(recipe, 0, Settings(Path('unused'))):
            cfg = stage.config
            if kind_of(cfg) in seen:
                continue
            seen.add(kind_of(cfg))
            cfg.train_dataloader.dataset.data_root = str(args.data_root)
            if args.batch_size:
                cfg.train_dataloader.batch_size = args.batch_size
            step, seconds = Step(cfg), []
            megabytes = peak_megabytes(
                lambda step=step, seconds=seconds: seconds.extend(
                    step.run() for _ in range(args.steps)
                )
            )
            rows[f'{recipe.stem}/{stage.name}'] = dict(
                batch_size=cfg.train_dataloader.batch_size,
                seconds=round(seconds[-1], 3),
                megabytes=round(megabytes),
                parameters=sum(p.numel() for p in step.model.parameters()),
            )
            print(f'{recipe.stem}/{stage.name}: {rows[f"{recipe.stem}/{stage.name}"]}', flush=True)
            del step
    print(json.dumps(dict(stages=rows, **circumstances())))


if __name__ == '__main__':
    main()
