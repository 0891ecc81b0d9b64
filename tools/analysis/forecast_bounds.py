"""How far simple forecasts get on true boxes: ``tools/analysis/forecast_bounds.py --infos I``.

Every object of an info file's samples, as its data set is tested, is forecast from its own true
past: to stand still, at constant velocity, along lanes at constant speed, at constant acceleration,
at constant velocity with noise. A learned forecast has to beat the first ones; the last one shows
how exact a velocity has to be. Prints EPA, which on true boxes is the share of objects within 2 m
after the last step, and ADE, over all objects whose future is wholly known, by class and by speed.
The last line is one JSON object.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'projects/TurboTrain'))

import numpy as np
import torch
from mmengine.registry import init_default_scope

from turbotrain.commands import run_tool
from turbotrain.datasets import CLASS_MAPS, MODES
from turbotrain.engine.dataset_config import dataset_config
from turbotrain.errors import UserError
from turbotrain.evaluation.motion_models import MOTION_MODELS, Tracks
from turbotrain.report.scoring import open_dataset
from turbotrain.structures import driving_lanes

SPEEDS = (0.0, 0.33, 2.0, 5.0, float('inf'))  # m/s, mean over what is forecast
HIT = 2.0  # m


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Bounds of forecasts on true boxes')
    parser.add_argument('--infos', type=Path, required=True)
    parser.add_argument('--class-map', choices=[*CLASS_MAPS])
    parser.add_argument('--mode', choices=[*MODES])
    parser.add_argument('--num-future', type=int, default=6, help='steps')
    parser.add_argument('--step', type=float, default=0.5, help='seconds')
    parser.add_argument(
        '--eval-range',
        type=float,
        nargs=4,
        metavar=('X_MIN', 'Y_MIN', 'X_MAX', 'Y_MAX'),
        help="m, ego frame; by default the data set's",
    )
    return parser.parse_args()


def collect(args: argparse.Namespace) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Errors (M, F) by model, and the objects' ``label`` and ``speed`` (M,); class names."""
    cfg = dataset_config(args.infos)
    given = {key: getattr(args, key) for key in ('class_map', 'mode') if getattr(args, key)}
    dataset = open_dataset(
        cfg,
        None,
        keep=lambda transform: True,
        pipeline=[dict(type='LoadVectorMap')],
        num_history=2,
        num_future=args.num_future,
        step=args.step,
        **given,
    )
    x_min, y_min, x_max, y_max = args.eval_range or cfg.test_evaluator.eval_range
    low, high = np.array([x_min, y_min]), np.array([x_max, y_max])
    times = args.step * np.arange(1, args.num_future + 1)
    parts: dict[str, list[np.ndarray]] = {key: [] for key in ('label', 'speed', *MOTION_MODELS)}
    for sample in dataset:
        past, known = sample['gt_history_trajectories'], sample['gt_history_valid']
        future = sample['gt_future_trajectories']
        inside = ((past[:, -1] >= low) & (past[:, -1] <= high)).all(axis=1)
        keep = sample['gt_future_valid'].all(axis=1) & inside
        past, known, future = past[keep], known[keep], future[keep]
        parts['label'].append(sample['gt_labels_3d'][keep])
        way = np.linalg.norm(future[:, -1] - past[:, -1], axis=-1)
        parts['speed'].append(way / times[-1])
        lines = (sample['vector_map'], sample['vector_map_mask'])
        (lanes,) = driving_lanes(*(torch.from_numpy(part)[None] for part in lines))
        tracks = Tracks(past, known, args.step, lanes.numpy())
        for name, forecast in MOTION_MODELS.items():
            paths = forecast(tracks, times)
            parts[name].append(np.linalg.norm(paths - future, axis=-1))
    if not sum(map(len, parts['label'])):
        raise UserError(f'{args.infos} holds no object whose future is known for {times[-1]:g} s')
    return {key: np.concatenate(part) for key, part in parts.items()}, dataset.metainfo['classes']


def rows_by_class_and_speed(
    errors: dict[str, np.ndarray], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Masks (M,) of the objects of each row of a table: all, each class, each class by speed."""
    rows = {'all': np.ones(len(errors['label']), dtype=bool)}
    for label, name in enumerate(names):
        rows[name] = errors['label'] == label
        for slow, fast in zip(SPEEDS, SPEEDS[1:], strict=False):
            span = f'{slow:g}-{fast:g} m/s' if fast < SPEEDS[-1] else f'from {slow:g} m/s'
            rows[f'{name}, {span}'] = (
                rows[name] & (errors['speed'] >= slow) & (errors['speed'] < fast)
            )
    return {name: keep for name, keep in rows.items() if keep.any()}


def bounds(errors: dict[str, np.ndarray], keep: np.ndarray) -> dict[str, dict[str, float]]:
    """EPA (%) and ADE (m) of some objects, by model."""
    return {
        name: dict(
            EPA=round(100.0 * float((errors[name][keep, -1] <= HIT).mean()), 2),
            ADE=round(float(errors[name][keep].mean()), 3),
        )
        for name in MOTION_MODELS
    }


def main() -> None:
    args = parse_args()
    init_default_scope('mmdet3d')
    errors, names = collect(args)
    rows = rows_by_class_and_speed(errors, names)
    found = {name: dict(objects=int(keep.sum())) for name, keep in rows.items()}
    print(
        f'{"EPA (%) / ADE (m)":<28} {"objects":>8}' + ''.join(f'{m:>24.22}' for m in MOTION_MODELS)
    )
    for name, row in found.items():
        own = bounds(errors, rows[name])
        cells = ''.join(f'{b["EPA"]:>15.1f} / {b["ADE"]:6.2f}' for b in own.values())
        print(f'{name:<28} {row["objects"]:>8}{cells}')
        row.update(own)
    print(json.dumps(found))


if __name__ == '__main__':
    run_tool(main)
