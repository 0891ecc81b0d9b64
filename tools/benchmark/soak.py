"""Train for hours and watch the memory of the main process and of each data worker.

``python tools/benchmark/soak.py --hours 2`` trains a config over and over its epochs. Memory is
flat when the last 90 % of the samples stay within 3 % of their median.
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
sys.path.insert(0, str(ROOT))

import numpy as np
from mmengine.config import Config, DictAction

from tools.benchmark.budget import train_only
from tools.benchmark.circumstances import circumstances

SHARE, TOLERANCE = 0.9, 0.03
MIN_SAMPLES = 20


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--config', default=str(ROOT / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py')
    )
    parser.add_argument('--hours', type=float, default=2.0)
    parser.add_argument('--interval', type=float, default=5.0, help='seconds between samples')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--work-dir', default=str(ROOT / 'work_dirs/soak'))
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='changes to the config')
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


def drift(values: list[float]) -> float:
    """The largest distance of the last 90 % of the values from their median, as a share of it."""
    last = np.array(values[int(len(values) * (1 - SHARE)) :])
    middle = float(np.median(last))
    return float(np.abs(last - middle).max()) / middle


def main() -> None:
    args = parse_args()
    work = Path(args.work_dir).resolve()
    shutil.rmtree(work, ignore_errors=True)
    write_config(args, work / 'config.py')
    log = work / 'output.txt'
    # Whoever ends this command ends the run that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('ended'))
    with log.open('w') as output:
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
    print('process        samples  first tenth (MB)  last tenth (MB)  drift')
    for name, values in rows.items():
        tenth = max(1, len(values) // 10)
        first, last = np.median(values[tenth : 2 * tenth]), np.median(values[-tenth:])
        print(f'{name:14s} {len(values):7d} {first:17.1f} {last:16.1f} {drift(values):6.1%}')
    drifts = {name: round(drift(values), 4) for name, values in rows.items()}
    summary = dict(hours=args.hours, drift=drifts, flat=max(drifts.values()) <= TOLERANCE)
    print(json.dumps(summary | circumstances()))
    if not summary['flat']:
        sys.exit(1)


if __name__ == '__main__':
    main()
