"""Work directories as training, tests and tools leave them, written by what writes them there."""

import json
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from mmengine.visualization import LocalVisBackend

from tests.scenes import write_scenario
from tools.benchmark.robustness import SWEEPS, Results
from turbotrain.datasets import build_infos, save_infos
from turbotrain.visualization import (
    BEVAnimation,
    draw_reconstruction,
    save_figure,
    scene_of,
)

ROOT = Path(__file__).resolve().parents[2]
LOG = """2026/11/25 10:00:00 - mmengine - INFO -
------------------------------------------------------------
System environment:
    sys.platform: linux
    Python: 3.11.2 (main)
    CUDA available: False
    PyTorch: 2.13.0+cpu
    PyTorch compiling details: PyTorch built with:
  - GCC 13.3

    NumPy: 1.26.4
    MMEngine: 0.10.7

Runtime environment:
    seed: 0
------------------------------------------------------------
"""


def write_data(root: Path, frames: range = range(0, 45, 5)) -> Config:
    """A small data set, and the config that is tested on it."""
    write_scenario(root, 'test', frames=frames)
    save_infos(str(root / 'v2xpnp_infos_test.npz'), build_infos(str(root), 'test'))
    cfg = Config.fromfile(ROOT / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py')
    cfg.test_dataloader.dataset.data_root = str(root)
    return cfg


def write_training(
    folder: Path, cfg: Config, seed: int = 0, steps: range = range(10, 610, 10),
    stamp: str = '20261125_100000', validations: int = 4,
) -> None:  # fmt: skip
    """What training logs, by mmengine's own backend: losses, conflict and validation."""
    rng = np.random.default_rng(seed)
    backend = LocalVisBackend(str(folder / stamp / 'vis_data'))
    backend._init_env()
    backend.add_config(cfg)
    (folder / stamp / f'{stamp}.log').write_text(LOG)
    end = steps[-1]
    every = max(len(steps) // max(validations, 1), 1)
    for number, step in enumerate(steps, start=1):
        share = step / end
        losses = {
            f'loss_{name}': scale * (0.3 + np.exp(-3 * share)) * rng.uniform(0.9, 1.1)
            for name, scale in (('cls', 0.8), ('bbox', 0.5), ('dir', 0.1), ('trajectory', 1.2))
        }
        suppressing = number > 1
        conflict = {
            'cosine/detection~prediction': 0.3 * rng.normal() - 0.05 + 0.1 * seed,
            'task_cosine': 0.3 * rng.normal(),
            'conflict_rate': 0.5 + 0.2 * np.sin(4 * share + seed),
            'task_norm/detection': 30 * np.exp(-2 * share) * rng.uniform(0.7, 1.4),
            'task_norm/prediction': 4 * np.exp(-share) * rng.uniform(0.7, 1.4),
            'task_weight/detection': rng.uniform(0.9, 1.3),
        }
        if not suppressing:
            conflict = dict.fromkeys(conflict, float('nan'))
        entry = dict(
            lr=2e-3 * min(1.0, step / 60) * (0.05 + 0.95 * np.cos(share * np.pi / 2)),
            data_time=0.01, grad_norm=rng.uniform(1, 10), loss=sum(losses.values()), **losses,
            time=0.4 + 0.02 * rng.normal(), suppressing=float(suppressing), **conflict, epoch=1,
            iter=step, memory=2100 + 20 * seed,
        )  # fmt: skip
        backend.add_scalars(entry, step=step)
        if validations and number % every == 0:
            measured = {
                'mAP@0.5': 30 + 20 * share + seed, 'AP@0.5/vehicle': 40 + 22 * share + seed,
                'EPA': 10 + 15 * share, 'ADE': 3 - share, 'AP@0.5/truck': float('nan'),
            }  # fmt: skip
            backend.add_scalars(measured | dict(data_time=0.1, time=0.9), step=number // every)


def write_test(folder: Path, cfg: Config, seed: int = 0, noise: float = 0.3) -> None:
    """Predictions that are the truth with some noise, their metrics, and pictures of both."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    rng = np.random.default_rng(seed)
    evaluator = Evaluator(
        [
            cfg.test_evaluator.to_dict(),
            dict(type='PredictionWriter', path=str(folder / 'predictions.jsonl')),
        ]
    )
    evaluator.dataset_meta = dataset.metainfo
    vis_data = folder / '20261125_100000/vis_data'
    backend = LocalVisBackend(str(vis_data))
    backend._init_env()
    animation = BEVAnimation((-51.2, -25.6, 51.2, 25.6), (640, 360))
    samples = [dataset[i] for i in range(len(dataset))]
    for number, data in enumerate(samples):
        sample = data['data_samples']
        sample.pred_instances_3d = noisy(sample.gt_instances_3d, rng, noise)
        sample.set_field(
            [70_400] * (len(sample.agents) - 1), 'message_bytes', field_type='metainfo'
        )
        evaluator.process([sample])
        if number < 2:
            clouds = list(data['inputs']['points'].split(sample.num_points))
            picture = animation.frame(scene_of(sample, clouds))
            for step in (150, 300, 600):
                backend.add_image(f'val_sample_{number}', picture, step=step)
    metrics = evaluator.evaluate(len(samples))
    (folder / 'metrics.json').write_text(json.dumps(metrics, indent=2))


def noisy(truth: InstanceData, rng: np.random.Generator, noise: float) -> InstanceData:
    """Most of the objects, moved a little, and a few that aren't there."""
    boxes, futures = truth.bboxes_3d.tensor.numpy(), truth.future_trajectories.numpy()
    rows = np.flatnonzero(rng.random(len(boxes)) < 0.85)
    rows = np.concatenate([rows, rng.integers(0, len(boxes), 3)])
    moved = boxes[rows] + rng.normal(0, noise, (len(rows), 7)) * [1, 1, 0, 0.1, 0.1, 0, 0.1]
    moved[-3:, :2] += 9.0
    paths = futures[rows][:, None] + rng.normal(0, 2 * noise, (len(rows), 1, 6, 2)).cumsum(2)
    scores = rng.uniform(0.4, 1.0, len(rows))
    scores[-3:] *= 0.8
    return InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.tensor(moved, dtype=torch.float32)),
        scores_3d=torch.tensor(scores, dtype=torch.float32),
        labels_3d=truth.labels_3d[rows],
        trajectories=torch.tensor(np.nan_to_num(paths), dtype=torch.float32),
        trajectory_scores=torch.ones(len(rows), 1),
    )


def write_robustness(folder: Path, seed: int = 0) -> None:
    """All sweeps, as tools/benchmark/robustness.py keeps them."""
    results = Results(folder, dict(config='a.py', checkpoint='epoch_1.pth', samples=None))
    for sweep, (_, _, values) in SWEEPS.items():
        for i, value in enumerate(values):
            loss = i / len(values)
            metrics = {
                'AP@0.5/vehicle': 60 - 25 * loss**2 + seed, 'mAP@0.5': 50 - 20 * loss**2 + seed,
                'EPA': None if value == 25 else 28 - 9 * loss,
            }  # fmt: skip
            results.add(sweep, value, metrics)


def write_reconstruction(folder: Path, seed: int = 0) -> None:
    """A picture as tools/visualize.py --reconstruction draws it."""
    rng = np.random.default_rng(seed)
    clouds = [rng.uniform([-40, -20, -2], [40, 20, 1], (4000, 3)) for _ in range(2)]
    hidden = [rng.random(4000) < 0.7 for _ in clouds]
    points = clouds[0][:500]
    figure = draw_reconstruction(
        clouds, hidden, [0, 1], points, points, (-40.0, -20.0, 40.0, 20.0), width=800
    )
    save_figure(figure, folder / 'reconstruction_0.png')
