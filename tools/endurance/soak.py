"""Train for hours and watch the memory of the main process and of each data worker.

``python tools/endurance/soak.py --hours 2`` trains a config over and over its epochs. A sample
falls anywhere into a step, whose activations come and go, so that medians are compared: the time is
cut in twenty, and a process is flat when the medians of the last eighteen stay within 3 % of
theirs. ``samples.json`` in the work dir has all samples.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import numpy as np
from mmengine.config import Config

from turbotrain.commands import KeyValues
from turbotrain.recipes.budget import train_only
from turbotrain.recipes.circumstances import circumstances
from turbotrain.whole_file import write_whole
from turbotrain.workers import terminable

WINDOWS, WARM_UP, TOLERANCE = 20, 2, 0.03
MIN_SAMPLES = 3 * WINDOWS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--config', default=str(ROOT / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py')
    )
    parser.add_argument('--hours', type=float, default=2.0)
    parser.add_argument('--interval', type=float, default=5.0, help='seconds between samples')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--work-dir', default=str(ROOT / 'work_dirs/soak'))
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues, help='changes to the config')
    return parser.parse_args()


def write_config(args: argparse.Namespace, path: Path) -> None:
    """Without end, and with a checkpoint every hundred iterations."""
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    train_only(cfg, epochs=10**6, save_every=100)
    cfg.param_scheduler = []
    # Workers that live on are what could grow.
    cfg.train_dataloader.update(num_workers=args.workers, persistent_workers=args.workers > 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(path)


def private_megabytes(pid: int) -> float:
    """Memory that a process shares with no other."""
    rows = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith('Private_')) / 1024


def family(pid: int) -> dict[str, int]:
    """The main process and its data workers, in the order in which they were started."""
    children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    named = {f'worker {i}': child for i, child in enumerate(sorted(map(int, children)))}
    return {'main process': pid, **named}


def watch(run: subprocess.Popen, seconds: float, interval: float) -> dict[str, list[float]]:
    """Private memory of each process over time, MB."""
    found, end = defaultdict(list), time.monotonic() + seconds
    while time.monotonic() < end and run.poll() is None:
        time.sleep(interval)
        try:
            for name, pid in family(run.pid).items():
                found[name].append(private_megabytes(pid))
        except OSError:  # a process came or went meanwhile
            continue
    return found


def window_medians(values: list[float]) -> np.ndarray:
    """The median of each twentieth of the time, the first two left out: 90 % of it."""
    return np.array([np.median(part) for part in np.array_split(values, WINDOWS)][WARM_UP:])


def drift(values: list[float]) -> float:
    """The largest distance of the windows' medians from their own median, as a share of it."""
    medians = window_medians(values)
    middle = float(np.median(medians))
    return float(np.abs(medians - middle).max()) / middle


def main() -> None:
    args = parse_args()
    work = Path(args.work_dir).resolve()
    shutil.rmtree(work, ignore_errors=True)
    write_config(args, work / 'config.py')
    log = work / 'output.txt'
    # Whoever ends this command ends the run that it started.
    with terminable(), log.open('w') as output:
        run = subprocess.Popen(
            [sys.executable, str(ROOT / 'tools/train.py'), str(work / 'config.py'), '--work-dir',
             str(work / 'run')],
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            found = watch(run, 3600 * args.hours, args.interval)
        finally:
            ended = run.poll()
            if ended is None:
                os.killpg(run.pid, signal.SIGKILL)
    if ended is not None:
        sys.exit(f'error: the run ended by itself\n{log.read_text()[-2000:]}')
    rows = {name: values for name, values in found.items() if len(values) >= MIN_SAMPLES}
    if not rows:
        sys.exit(f'error: fewer than {MIN_SAMPLES} samples; give it more time')
    write_whole(work / 'samples.json', json.dumps(rows))
    drifts = {name: round(drift(values), 4) for name, values in rows.items()}
    print('process        samples  first (MB)  last (MB)  drift')
    for name, values in rows.items():
        first, *_, last = window_medians(values)
        print(f'{name:14s} {len(values):7d} {first:11.1f} {last:10.1f} {drifts[name]:6.1%}')
    summary = dict(hours=args.hours, drift=drifts, flat=max(drifts.values()) <= TOLERANCE)
    print(json.dumps(summary | circumstances()))
    if not summary['flat']:
        sys.exit(1)


if __name__ == '__main__':
    main()
