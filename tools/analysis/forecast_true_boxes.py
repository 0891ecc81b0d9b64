"""Forecasts alone: ``python tools/analysis/forecast_true_boxes.py CONFIG CHECKPOINT``.

Has a detector forecast the true boxes of its test samples, so that nothing depends on what it
detects. Prints ADE, and the share of objects within 2 m after the last step, over all objects whose
future is wholly known, by class and by speed, beside those of standing still. The last line is one
JSON object. ``--cfg-options test_dataloader.dataset.ann_file=FILE`` takes another split.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from tools.analysis.forecast_bounds import HIT, rows_by_class_and_speed
from turbotrain.commands import add_common_arguments, load_config, run_tool
from turbotrain.engine import load_weights
from turbotrain.errors import UserError
from turbotrain.whole_file import write_whole


def collect(cfg: Config, checkpoint: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """What the model does for all objects of the test split.

    Returns:
        Errors (M, F) of the model and of standing still, metres, label and speed (M,), m/s; and the
        labels' names.
    """
    model = MODELS.build(cfg.model)
    load_weights(model, checkpoint)
    model.eval()
    if torch.cuda.is_available():
        model.to('cuda')
    parts: dict[str, list[np.ndarray]] = {
        key: [] for key in ('forecast', 'stationary', 'label', 'speed')
    }
    loader = Runner.build_dataloader(cfg.test_dataloader)
    about = loader.dataset.metainfo
    for batch in loader:
        data = model.data_preprocessor(batch, training=False)
        truths = [sample.gt_instances_3d for sample in data['data_samples']]
        boxes = [t.bboxes_3d.tensor[:, :7].to(t.labels_3d.device) for t in truths]
        with torch.no_grad():
            found = model.forecast(
                data['inputs'], data['data_samples'], boxes, [t.labels_3d for t in truths]
            )
        for truth, box, (paths, scores) in zip(truths, boxes, found, strict=True):
            keep = truth.future_valid.all(dim=1)
            future, now = truth.future_trajectories[keep], box[keep, None, :2]
            likeliest = paths[torch.arange(len(paths)), scores.argmax(dim=1)][keep]
            way = (future - now).norm(dim=-1)
            parts['forecast'].append((likeliest - future).norm(dim=-1).cpu().numpy())
            parts['stationary'].append(way.cpu().numpy())
            parts['label'].append(truth.labels_3d[keep].cpu().numpy())
            seconds = about['step'] * future.shape[1]
            parts['speed'].append((way[:, -1] / seconds).cpu().numpy())
    if not sum(map(len, parts['label'])):
        raise UserError('the test split holds no object whose whole future is known')
    return {key: np.concatenate(part) for key, part in parts.items()}, about['classes']


def main() -> None:
    parser = argparse.ArgumentParser(description='Forecasts on true boxes')
    add_common_arguments(parser, checkpoint=True)
    parser.add_argument('--out', type=Path, help='write the JSON object there, too')
    args = parser.parse_args()
    checkpoint, out = str(Path(args.checkpoint).resolve()), args.out and args.out.resolve()
    cfg = load_config(args, ['model', 'test_dataloader'])
    init_default_scope(cfg.default_scope)
    errors, names = collect(cfg, checkpoint)
    print(f'{"":<28} {"objects":>8} {"ADE (m)":>9} {"hits (%)":>9} {"still (m)":>10} {"(%)":>7}')
    found = {}
    for name, keep in rows_by_class_and_speed(errors, names).items():
        found[name] = dict(objects=int(keep.sum()))
        for key, tail in (('forecast', ''), ('stationary', '_stationary')):
            found[name][f'ADE{tail}'] = round(float(errors[key][keep].mean()), 3)
            hits = 100.0 * float((errors[key][keep, -1] <= HIT).mean())
            found[name][f'hits{tail}'] = round(hits, 2)
        n, ade, hits, still, still_hits = found[name].values()
        print(f'{name:<28} {n:>8} {ade:>9.2f} {hits:>9.1f} {still:>10.2f} {still_hits:>7.1f}')
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, json.dumps(found, indent=2))
    print(json.dumps(found))


if __name__ == '__main__':
    run_tool(main)
