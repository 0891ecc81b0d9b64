"""Draw a sample from above: ``python tools/visualize.py CONFIG CHECKPOINT --out a.png``.

A test sample with what a detector makes of it; or, with ``--reconstruction``, a sample as a
pretraining config loads it with what is hidden and what the pretrainer makes of that. The data set
is then that of training; ``--cfg-options train_dataloader.dataset.ann_file=...`` names another.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from matplotlib.figure import Figure
from mmdet3d.models import Base3DDetector
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint

from projects.TurboTrain.turbotrain.engine.launch import (
    add_common_arguments,
    load_config,
    run_tool,
)
from projects.TurboTrain.turbotrain.models import MaskedPretrainer
from projects.TurboTrain.turbotrain.visualization import (
    draw_bev,
    draw_reconstruction,
    save_figure,
    scene_of,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw a sample with what the model makes of it')
    add_common_arguments(parser, checkpoint=True)
    parser.add_argument('--index', type=int, default=0, help='which sample of the data set')
    parser.add_argument(
        '--reconstruction', action='store_true', help='input, masked input, reconstruction, truth'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the masks, with --reconstruction')
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
    loader = cfg.train_dataloader if args.reconstruction else cfg.get('test_dataloader')
    if loader is None or args.reconstruction != isinstance(model, MaskedPretrainer):
        sys.exit('--reconstruction goes with a pretraining config, and only with one')
    dataset = DATASETS.build(loader.dataset)
    if not 0 <= args.index < len(dataset):
        sys.exit(f'--index: the data set has samples 0 to {len(dataset) - 1}, got {args.index}')
    data = dataset[args.index]
    draw = reconstruction_figure if args.reconstruction else detection_figure
    figure = draw(model, data, cfg, args)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, out)
    print(f'{out}: {name_of(data["data_samples"])}, sample {args.index} of {len(dataset)}')


def detection_figure(
    model: Base3DDetector, data: dict, cfg: Config, args: argparse.Namespace
) -> Figure:
    points, lengths = data['inputs']['points'], data['data_samples'].num_points
    with torch.no_grad():
        sample = model.test_step(pseudo_collate([data]))[0]
    x_min, y_min, _, x_max, y_max, _ = cfg.point_cloud_range
    return draw_bev(
        scene_of(sample, list(points.split(lengths)), args.score),
        view_range=(x_min, y_min, x_max, y_max),
    )


def reconstruction_figure(
    model: MaskedPretrainer, data: dict, cfg: Config, args: argparse.Namespace
) -> Figure:
    torch.manual_seed(args.seed)
    found = model.reconstruct(pseudo_collate([data]))[0]
    return draw_reconstruction(
        [cloud.cpu().numpy() for cloud in found.clouds],
        [mask.cpu().numpy() for mask in found.hidden],
        found.current,
        found.predicted.cpu().numpy(),
        view_range=model.limits[[0, 1, 3, 4]].tolist(),
        title=name_of(data['data_samples']),
    )


def name_of(sample: Det3DDataSample) -> str:
    if 'scenario' in sample:
        return f'{sample.scenario}, frame {sample.frame}'
    return Path(sample.get('lidar_path', '')).name


if __name__ == '__main__':
    run_tool(main)
