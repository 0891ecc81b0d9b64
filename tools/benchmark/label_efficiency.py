"""How few labels do: ``python tools/benchmark/label_efficiency.py`` (on the mini set).

Fine-tunes on 10, 25, 50 and 100 % of mini's labels, from pretrained weights and from scratch, with
several seeds, tests each and draws average precision and EPA over the share of labels. A seed
decides the weights, the order of samples and which labels there are. What is labelled are moments
(all egos of it); smaller shares are part of larger ones. All runs take the same number of steps,
which are fewer passes over all samples or more over some of them. Pretraining sees all clouds and
no label, once for each seed.

Each run has a folder in ``--work-dir``: started again, the command goes on where it was. The last
line is one JSON object. A full run takes hours on two cores; ``--samples 8`` shows that all works.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmdet3d.registry import DATASETS
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from projects.TurboTrain.turbotrain.datasets import V2XPnPDataset
from tools.benchmark.budget import train_for

CONFIGS = ROOT / 'configs/turbotrain/mini'
ARMS = dict(scratch='from scratch', pretrained='pretrained')
METRICS = {'AP@0.5/vehicle': 'AP@0.5 of vehicles (%)', 'mAP@0.5': 'mAP@0.5 (%)', 'EPA': 'EPA (%)'}
SPLITS = ('train', 'val', 'test')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Fine-tune on shares of the labels')
    parser.add_argument('--data-root', type=Path, default=ROOT / 'data/mini_v2xpnp')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/label_efficiency')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--percents', type=int, nargs='+', default=[10, 25, 50, 100])
    parser.add_argument('--iters', type=int, default=960, help='of each fine-tuning; one pass')
    parser.add_argument('--pretrain-iters', type=int, default=480, help='of each; one pass')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='changes to the fine-tuning, key=value'
    )
    parser.add_argument('--split', choices=['val', 'test'], default='test', help='to measure on')
    parser.add_argument('--samples', type=int, help='only so many samples of each split: a trial')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/label_efficiency.png')
    args = parser.parse_args()
    if any(not 0 < percent <= 100 for percent in args.percents):
        parser.error(f'--percents: from 1 to 100, got {args.percents}')
    return args


def open_config(stage: str, seed: int, iters: int, args: argparse.Namespace) -> Config:
    """A stage's config with its data, seed and length."""
    cfg = Config.fromfile(CONFIGS / f'{stage}_mini_v2xpnp.py')
    if args.split == 'val':
        cfg.test_dataloader = cfg.val_dataloader
    train_for(cfg, iters, seed)
    for split in SPLITS:
        if cfg.get(f'{split}_dataloader'):
            dataset = cfg[f'{split}_dataloader'].dataset
            dataset.data_root = str(args.data_root.resolve())
            if args.samples:
                dataset.indices = args.samples
    return cfg


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


def run(tool: str, *words: object) -> None:
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, words)]
    print(f'==> {" ".join(["python", *command[1:]])}', flush=True)
    if subprocess.run(command, check=False, cwd=ROOT).returncode:
        sys.exit(f'{tool} failed; its own message is above. Started again, this goes on from there')


def train(cfg: Config, folder: Path) -> Path:
    """Train to the end, going on where an earlier run was; the last checkpoint."""
    checkpoint = folder / f'iter_{cfg.train_cfg.max_iters}.pth'
    if not checkpoint.exists():
        folder.mkdir(parents=True, exist_ok=True)
        cfg.dump(config_of(folder))
        run('train.py', config_of(folder), '--work-dir', folder, '--resume')
    return checkpoint


def config_of(folder: Path) -> Path:
    """Beside the work directory, where training and test write configs of their own."""
    return folder.with_name(f'{folder.name}.py')


def measure(seed: int, args: argparse.Namespace) -> Iterator[tuple[str, int, dict]]:
    """Arm, percent and metrics of each of a seed's runs."""
    base = args.work_dir / f'seed_{seed}'
    pretrained = train(open_config('pretrain', seed, args.pretrain_iters, args), base / 'pretrain')
    every = open_config('finetune', seed, args.iters, args).train_dataloader.dataset
    dataset = DATASETS.build({**every, 'pipeline': []})
    for percent in args.percents:
        indices = labelled(dataset, percent, seed)
        for arm in ARMS:
            folder = base / f'{arm}_{percent}'
            cfg = open_config('finetune', seed, args.iters, args)
            cfg.merge_from_dict(args.cfg_options or {})
            cfg.train_dataloader.dataset.indices = indices
            cfg.load_from = str(pretrained.resolve()) if arm == 'pretrained' else None
            metrics = folder / 'metrics.json'
            if not metrics.exists():
                checkpoint = train(cfg, folder)
                run('test.py', config_of(folder), checkpoint, '--work-dir', folder)
            yield arm, percent, json.loads(metrics.read_text())


def summarise(found: dict[tuple[str, int, str], list[float]]) -> dict:
    """Metric -> arm -> percent -> mean, spread and values over the seeds."""
    table: dict = {}
    for (arm, percent, metric), values in found.items():
        row = dict(
            mean=round(statistics.mean(values), 2),
            std=round(statistics.stdev(values), 2) if len(values) > 1 else None,
            values=[round(value, 2) for value in values],
        )
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
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def check_settings(args: argparse.Namespace) -> None:
    """Refuse to mix the runs of other settings with these."""
    args.work_dir.mkdir(parents=True, exist_ok=True)
    path = args.work_dir / 'settings.json'
    names = ('iters', 'pretrain_iters', 'samples', 'split', 'cfg_options')
    own = {name: getattr(args, name) for name in names}
    if path.exists() and json.loads(path.read_text()) != own:
        sys.exit(f'--work-dir: {path} says {path.read_text()}, not {json.dumps(own)}; take another')
    path.write_text(json.dumps(own))


def main() -> None:
    args = parse_args()
    init_default_scope('mmdet3d')
    check_settings(args)
    found: dict[tuple[str, int, str], list[float]] = {}
    for seed in args.seeds:
        for arm, percent, metrics in measure(seed, args):
            for metric in METRICS:
                found.setdefault((arm, percent, metric), []).append(metrics[metric])
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
                iters=args.iters,
                pretrain_iters=args.pretrain_iters,
                samples=args.samples,
                split=args.split,
                cfg_options=args.cfg_options,
                seeds=args.seeds,
                versions=dict(python=platform.python_version(), torch=torch.__version__),
                date=time.strftime('%Y-%m-%d'),
            )
        )
    )


if __name__ == '__main__':
    main()
