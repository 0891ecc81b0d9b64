"""Draw a test sample from above: ``python tools/visualize.py CONFIG CHECKPOINT --out a.png``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint

from projects.TurboTrain.turbotrain.engine.launch import (
    add_common_arguments,
    load_config,
    run_tool,
)
from projects.TurboTrain.turbotrain.visualization import draw_bev, save_figure, scene_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw a sample with what the model makes of it')
    add_common_arguments(parser, checkpoint=True)
    parser.add_argument('--index', type=int, default=0, help='which sample of the test set')
    parser.add_argument('--score', type=float, default=0.3, help='leave out detections below this')
    parser.add_argument('--out', type=Path, default=Path('sample.png'), help='picture to write')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    checkpoint, out = str(Path(args.checkpoint).resolve()), args.out.resolve()
    cfg = load_config(args)
    init_default_scope(cfg.default_scope)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = MODELS.build(cfg.model).to(device).eval()
    load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if not 0 <= args.index < len(dataset):
        sys.exit(f'--index: the test set has samples 0 to {len(dataset) - 1}, got {args.index}')
    data = dataset[args.index]
    points, lengths = data['inputs']['points'], data['data_samples'].num_points
    with torch.no_grad():
        sample = model.test_step(pseudo_collate([data]))[0]
    x_min, y_min, _, x_max, y_max, _ = cfg.point_cloud_range
    figure = draw_bev(
        scene_of(sample, list(points.split(lengths)), args.score),
        view_range=(x_min, y_min, x_max, y_max),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, out)
    print(f'{out}: {sample.scenario}, frame {sample.frame}, sample {args.index} of {len(dataset)}')


if __name__ == '__main__':
    run_tool(main)
