"""Draw samples as training sees them: ``python tools/browse_dataset.py CONFIG --count 4``."""

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))

from mmdet3d.registry import DATASETS
from mmengine.registry import init_default_scope

from turbotrain.commands import (
    add_common_arguments,
    load_config,
    run_tool,
)
from turbotrain.datasets import EpochIndexDataset
from turbotrain.visualization import draw_bev, save_figure, scene_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Draw samples as the pipeline of a config makes them, augmentation and all'
    )
    add_common_arguments(parser)
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--index', type=int, nargs='+', help='samples to draw')
    parser.add_argument('--count', type=int, default=4, help='else this many, drawn by chance')
    parser.add_argument('--epoch', type=int, default=0, help='whose random draws to show')
    parser.add_argument('--out-dir', type=Path, default=Path('browse'), help='where pictures go')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out_dir = args.out_dir.resolve()
    cfg = load_config(args, [])
    init_default_scope(cfg.default_scope)
    loader = cfg.get(f'{args.split}_dataloader')
    if not loader:
        sys.exit(f'error: the config has no {args.split}_dataloader')
    # As in training: the epoch reaches what is in wrappers, too.
    dataset = EpochIndexDataset(DATASETS.build(loader.dataset))
    total = len(dataset)
    chosen = random.Random(0).sample(range(total), min(args.count, total))
    indices = args.index or sorted(chosen)
    out_dir.mkdir(parents=True, exist_ok=True)
    if 'point_cloud_range' not in cfg:
        sys.exit('error: the config has no point_cloud_range, which says how much to draw')
    x_min, y_min, _, x_max, y_max, _ = cfg.point_cloud_range
    for index in indices:
        if not 0 <= index < total:
            sys.exit(f'error: --index: the split has samples 0 to {total - 1}, got {index}')
        data = dataset[args.epoch * total + index]
        sample = data['data_samples']
        clouds = list(data['inputs']['points'].split(sample.num_points))
        figure = draw_bev(scene_of(sample, clouds), view_range=(x_min, y_min, x_max, y_max))
        path = out_dir / f'{args.split}_{index:06d}.png'
        save_figure(figure, path)
        agents = ', '.join(
            f'{agent} ({row.sum()}/{len(row)} frames)'
            for agent, row in zip(sample.agents.ids, sample.agents.valid, strict=True)
        )
        print(f'{path}: {sample.scenario}, frame {sample.frame}, agents {agents}')


if __name__ == '__main__':
    run_tool(main)
