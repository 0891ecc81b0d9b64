"""The main job on the simulated mini dataset: simulate, pretrain, fine-tune, test, draw.

It types the commands that the README explains, times each, and writes
``work_dirs/demo/summary.json``.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

from turbotrain.whole_file import write_whole

DATA = Path('data/mini_v2xpnp')
CONFIGS = Path('configs/turbotrain/mini')
PRETRAIN, FINETUNE = CONFIGS / 'pretrain_mini_v2xpnp.py', CONFIGS / 'finetune_mini_v2xpnp.py'
CHECKPOINT = 'work_dirs/finetune_mini_v2xpnp/epoch_1.pth'
OUT = Path('work_dirs/demo')
PICTURE, TRUE_BOXES = OUT / 'sample.png', OUT / 'true_boxes.json'
METRICS = 'ADE', 'FDE', 'MR', 'EPA', 'EPA_stationary', 'EPA_constant_velocity'
STEPS = {
    'simulate': ['tools/simulate.py', '--out', DATA],
    'create_data': ['tools/create_data.py', 'v2xpnp', '--root-path', DATA],
    'pretrain': ['tools/train.py', PRETRAIN],
    # The test split is measured next: no time goes into validation.
    'finetune': ['tools/train.py', FINETUNE, '--cfg-options', 'train_cfg.val_begin=2'],
    'test': ['tools/test.py', FINETUNE, CHECKPOINT],
    'true_boxes': [
        'tools/analysis/forecast_true_boxes.py',
        FINETUNE,
        CHECKPOINT,
        '--out',
        TRUE_BOXES,
    ],
    'picture': ['tools/visualize.py', FINETUNE, CHECKPOINT, '--index', '20', '--out', PICTURE],
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    (ROOT / OUT).mkdir(parents=True, exist_ok=True)
    # Folders are named after other modes than the usual one.
    environment = {key: value for key, value in os.environ.items() if key != 'V2X_MODE'}
    seconds = {}
    for step, words in STEPS.items():
        command = ['python', *map(str, words)]
        print(f'\n==> {" ".join(command)}', flush=True)
        start = time.perf_counter()
        command[0] = sys.executable
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        seconds[step] = round(time.perf_counter() - start, 1)
        if code:
            sys.exit(f'the step {step!r} failed (exit code {code}); its own message is above')
        print(f'<== {step}: {seconds[step]:.1f} s', flush=True)

    summary = summarise() | dict(seconds=seconds, picture=str(PICTURE))
    write_whole(ROOT / OUT / 'summary.json', json.dumps(summary, indent=2) + '\n')
    print_summary(summary)


def summarise() -> dict[str, float]:
    """Collect what the steps left behind."""
    simulated = json.loads((ROOT / DATA / 'summary.json').read_text())['intersection']
    metrics = json.loads((ROOT / 'work_dirs/finetune_mini_v2xpnp/metrics.json').read_text())
    true_boxes = json.loads((ROOT / TRUE_BOXES).read_text())['all']
    losses = reconstruction_losses(ROOT / 'work_dirs/pretrain_mini_v2xpnp')
    first, last = sum(losses[:2]) / 2, sum(losses[-2:]) / 2
    return {
        'reconstruction_loss_first': round(first, 4),
        'reconstruction_loss_last': round(last, 4),
        'reconstruction_loss_drop': round(1 - last / first, 4),
        'AP@0.5': round(number(metrics['AP@0.5/vehicle']), 2),
        **{key: round(number(metrics[key]), 3) for key in METRICS},
        'ADE_true_boxes': true_boxes['ADE'],
        'hits_true_boxes': true_boxes['hits'],
        'visible_ego': simulated['visible_ego'],
        'visible_all': simulated['visible_all'],
    }


def number(value: float | None) -> float:
    """A metric of a file, which has null where nothing defines it."""
    return math.nan if value is None else value


def reconstruction_losses(work_dir: Path) -> list[float]:
    """The newest run's loss, each entry the mean of ten iterations."""
    newest = max(work_dir.glob('*/vis_data/scalars.json'))  # of a folder named by its time
    entries = [json.loads(line) for line in newest.read_text().splitlines()]
    return [entry['loss'] for entry in entries if 'loss' in entry]


def print_summary(summary: dict) -> None:
    print('\nstep           seconds')
    for step, seconds in summary['seconds'].items():
        print(f'{step:<14} {seconds:>7.1f}')
    print(f'{"total":<14} {sum(summary["seconds"].values()):>7.1f}\n')
    print(
        f'{summary["visible_ego"]:.0%} of the road users near an intersection are seen by the ego, '
        f'{summary["visible_all"]:.0%} by all agents together\n'
        f'reconstruction loss: {summary["reconstruction_loss_first"]:.3f} -> '
        f'{summary["reconstruction_loss_last"]:.3f} ({-summary["reconstruction_loss_drop"]:.0%})\n'
        f'AP@0.5 of vehicles: {summary["AP@0.5"]:.1f} %\n'
        f'EPA: {summary["EPA"]:.1f} % (stationary baseline: '
        f'{summary["EPA_stationary"]:.1f} %, constant velocity as detected: '
        f'{summary["EPA_constant_velocity"]:.1f} %), ADE {summary["ADE"]:.2f} m, '
        f'FDE {summary["FDE"]:.2f} m, MR {summary["MR"]:.1f} %\n'
        f'forecasts of true boxes: ADE {summary["ADE_true_boxes"]:.2f} m, '
        f'{summary["hits_true_boxes"]:.1f} % within 2 m after 3 s\n'
        f'picture: {summary["picture"]}'
    )


if __name__ == '__main__':
    main()
