"""How few labels do: ``python tools/benchmark/label_efficiency.py`` (on the mini set).

Fine-tunes on 10, 25, 50 and 100 % of mini's labels, from pretrained weights and from scratch, with
several seeds, tests each and draws average precision and EPA over the share of labels. A seed
decides the weights, the order of samples and which labels there are. What is labelled are moments
(all egos of it); smaller shares are part of larger ones. All fine-tunings are the recipe
``turbotrain``'s and take the same number of steps, which are fewer passes over all samples or more
over some of them. Pretraining sees all clouds and no label, once for each seed.

Hours on two cores; started again, the command goes on where it was. ``--epoch-iters 1`` shows that
all works. The last line is one JSON object.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmdet3d.registry import DATASETS
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from projects.TurboTrain.turbotrain.datasets import V2XPnPDataset
from projects.TurboTrain.turbotrain.visualization import save_figure
from tools.benchmark.circumstances import circumstances
from tools.benchmark.recipes import (
    Run,
    add_comparison_arguments,
    recipe_paths,
    run_all,
    settings_of,
)
from tools.benchmark.results import spread

ARMS = dict(scratch='from scratch', pretrained='pretrained')
METRICS = {'AP@0.5/vehicle': 'AP@0.5 of vehicles (%)', 'mAP@0.5': 'mAP@0.5 (%)', 'EPA': 'EPA (%)'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Fine-tune on shares of the labels')
    add_comparison_arguments(parser)
    parser.add_argument('--percents', type=int, nargs='+', default=[10, 25, 50, 100])
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='changes to the fine-tuning, key=value'
    )
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/label_efficiency.png')
    args = parser.parse_args()
    if any(not 0 < percent <= 100 for percent in args.percents):
        parser.error(f'--percents: from 1 to 100, got {args.percents}')
    return args


def labelled(dataset: V2XPnPDataset, percent: int, seed: int) -> list[int]:
    """The samples of a share of the moments; those of a smaller share are among them."""
    moments: dict[tuple, list[int]] = {}
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        moments.setdefault((info['scenario'], info['frame']), []).append(i)
    groups = list(moments.values())
    order = np.random.default_rng(seed).permutation(len(groups))
    chosen = order[: max(1, round(len(groups) * percent / 100))]
    return sorted(i for group in chosen for i in groups[group])


def finetune(
    arm: str, percent: int, seed: int, options: dict | None, stage: str, cfg: Config
) -> None:
    """Change the recipe's fine-tuning into one of the runs that are compared."""
    if stage != 'finetuning':
        return
    if percent < 100:
        dataset = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': []})
        cfg.train_dataloader.dataset.indices = labelled(dataset, percent, seed)
    cfg.merge_from_dict(options or {})
    if arm == 'scratch':
        cfg.load_from, cfg.custom_hooks = None, []


def summarise(found: dict[tuple[str, int, str], list[float]]) -> dict:
    """Metric -> arm -> percent -> mean, spread and values over the seeds."""
    table: dict = {}
    for (arm, percent, metric), values in found.items():
        mean, std = spread(values)
        row = dict(mean=mean, std=std, values=[round(value, 2) for value in values])
        table.setdefault(metric, {}).setdefault(arm, {})[str(percent)] = row
    return table


def draw(table: dict, out: Path) -> None:
    figure = Figure(figsize=(11, 3.6), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, (metric, label) in zip(
        figure.subplots(1, len(METRICS)), METRICS.items(), strict=True
    ):
        for arm, color in zip(ARMS, ('#5B6675', '#E4572E'), strict=True):
            rows = table[metric][arm]
            percents = [int(percent) for percent in rows]
            mean = np.array([row['mean'] for row in rows.values()])
            std = np.array([row['std'] or 0.0 for row in rows.values()])
            axes.plot(percents, mean, 'o-', color=color, label=ARMS[arm])
            axes.fill_between(percents, mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
        axes.set(xlabel='labels (%)', ylabel=label, xscale='log', xticks=percents)
        axes.set_xticklabels(percents)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, out, dpi=110)


def main() -> None:
    args = parse_args()
    init_default_scope('mmdet3d')
    recipe = recipe_paths()['turbotrain']
    runs = [
        Run(f'{arm}, {percent} %', seed, recipe, change)
        for percent in args.percents
        for seed in args.seeds
        for arm in ARMS
        for change in [partial(finetune, arm, percent, seed, args.cfg_options)]
    ]
    measured = run_all(runs, settings_of(args))
    found: dict[tuple[str, int, str], list[float]] = {}
    for arm in ARMS:
        for percent in args.percents:
            for (name, _), stages in measured.items():
                if name == f'{arm}, {percent} %':
                    for metric in METRICS:
                        value = stages['finetuning']['metrics'][metric]
                        found.setdefault((arm, percent, metric), []).append(value)
    table = summarise(found)
    draw(table, args.out)
    for metric, arms in table.items():
        print(f'\n{metric:<16}' + ''.join(f'{percent:>16} %' for percent in args.percents))
        for arm, rows in arms.items():
            cells = [
                f'{row["mean"]:.1f}' + ('' if row['std'] is None else f' ± {row["std"]:.1f}')
                for row in rows.values()
            ]
            print(f'{arm:<16}' + ''.join(f'{cell:>18}' for cell in cells))
    print(f'\npicture: {args.out}')
    print(
        json.dumps(
            dict(
                metrics=table,
                epoch_iters=args.epoch_iters,
                split=args.split,
                cfg_options=args.cfg_options,
                seeds=args.seeds,
                **circumstances(),
            )
        )
    )
    sys.exit(0 if len(measured) == len(runs) else 1)


if __name__ == '__main__':
    main()
