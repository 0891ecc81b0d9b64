"""What each way of masking hides: ``python docs/figures/masking.py --out docs/masking.png``.

One sample of the mini set, two of its agents at two times, masked in every way: grey is hidden
ground, whether something is there or not; coloured points are left, dark ones are hidden.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'projects/TurboTrain'))

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from turbotrain.commands import run_tool
from turbotrain.pretraining.masking import CloudLayout
from turbotrain.structures import VEHICLE
from turbotrain.visualization import AgentView, save_figure
from turbotrain.visualization.clouds import cloud_image

CONFIG = ROOT / 'configs/turbotrain/mini/pretrain_mini_v2xpnp.py'
VIEW = np.array([-25.6, -12.8, 25.6, 12.8])
PANEL = (400, 200)
COLORS = ('#3046D8', '#C8391B')
_CELLS = dict(ratio=0.7, cell_size=1.6)
STRATEGIES = {
    'BEVCellMasking': dict(type='BEVCellMasking', **_CELLS),
    'BEVCellCoMasking': dict(type='BEVCellCoMasking', **_CELLS),
    "frames='current'": dict(type='BEVCellCoMasking', frames='current', **_CELLS),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw what each way of masking hides')
    parser.add_argument('--data-root', type=Path, default=ROOT / 'data/mini_v2xpnp')
    parser.add_argument('--index', type=int, default=20, help='which sample of the training set')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, default=Path('masking.png'))
    return parser.parse_args()


def panel_image(
    points: np.ndarray, hidden: np.ndarray, ground: np.ndarray, color: str
) -> np.ndarray:
    """(height, width, 3): hidden ground below, then hidden points, then those that are left."""
    image = np.where(ground[..., None], 0.78, 1.0).repeat(3, axis=-1)
    for part, shade in ((points[hidden], '#55585E'), (points[~hidden], color)):
        layer = cloud_image([AgentView('', VEHICLE, np.eye(4), part)], [shade], VIEW, PANEL)
        opacity = np.clip(1.6 * layer[..., 3:], 0, 1)
        image = image * (1 - opacity) + layer[..., :3] * opacity
    return image


def main() -> None:
    args = parse_args()
    init_default_scope('mmdet3d')
    cfg = Config.fromfile(CONFIG)
    settings = {**cfg.train_dataloader.dataset, 'data_root': str(args.data_root)}
    data = DATASETS.build(settings)[args.index]
    sample = data['data_samples']
    agents = sample.agents
    layout = CloudLayout.of_agents([agents], torch.device('cpu'))
    clouds = list(data['inputs']['points'].split(sample.num_points))
    frames = agents.num_frames
    shown = [
        (n, n * frames + t, f'{name}, {agents.time_offsets[t]:+.1f} s'.replace('+0.0 s', 'now'))
        for n, name in ((0, 'ego'), (len(agents) - 1, 'last agent'))
        for t in (0, frames - 1)
    ]
    x = np.linspace(VIEW[0], VIEW[2], PANEL[0])
    y = np.linspace(VIEW[3], VIEW[1], PANEL[1])
    pixels = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)).float()

    figure = Figure(figsize=(13, 5.6), layout='constrained')
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(STRATEGIES), len(shown))
    for axes, (_, _, title) in zip(grid[0], shown, strict=True):
        axes.set_title(title, fontsize=10)
    limits = cfg.model.detector.point_cloud_range
    for row, (name, options) in zip(grid, STRATEGIES.items(), strict=True):
        masking = MODELS.build(dict(point_cloud_range=limits, **options))
        torch.manual_seed(args.seed)
        masked = masking(clouds, layout)
        for axes, (agent, cloud, _) in zip(row, shown, strict=True):
            ground = masked.region.at(pixels, torch.full((len(pixels),), cloud))
            image = panel_image(
                clouds[cloud].numpy(),
                masked.hidden[cloud].numpy(),
                ground.view(PANEL[1], PANEL[0]).numpy(),
                COLORS[agent > 0],
            )
            axes.imshow(image, interpolation='nearest')
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, fontsize=9)
    save_figure(figure, args.out, dpi=100)
    print(f'{args.out}: {sample.scenario}, frame {sample.frame}')


if __name__ == '__main__':
    run_tool(main)
