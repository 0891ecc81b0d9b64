"""Kill training at random moments, resume it, and hold its end against an uninterrupted run's.

``python tools/endurance/kill_resume.py --kills 20`` kills ``tools/train.py`` with SIGKILL while it
starts, trains, and writes a checkpoint; of two processes under torchrun it kills one. Then it
resumes by ``--resume``, and at the end compares weights, optimiser and random states bit for bit.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import torch
from mmengine.config import Config

from turbotrain.commands import KeyValues, only_dataset
from turbotrain.recipes.budget import train_only
from turbotrain.recipes.circumstances import circumstances

MOMENTS = ('training', 'writing', 'starting')
CHAIN = 5  # kills of one run, at most
LIMIT = 600  # seconds that a run, or its end after a kill, may take


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=20, help='in all')
    parser.add_argument(
        '--config', default=str(ROOT / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py')
    )
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--samples', type=int, default=16, help='of an epoch')
    parser.add_argument('--epochs', type=int, default=2)
    parser.add_argument('--work-dir', default=str(ROOT / 'work_dirs/kill_resume'))
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues, help='changes to the config')
    return parser.parse_args()


def write_config(args: argparse.Namespace, path: Path) -> None:
    """A short run that saves every second iteration, in the middle of an epoch too."""
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    train_only(cfg, args.epochs, save_every=2)
    only_dataset(cfg.train_dataloader).indices = args.samples
    path.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(path)


def start(config: Path, folder: Path, processes: int) -> subprocess.Popen:
    """Begin or resume a run; its output goes to ``output.txt``."""
    words = [ROOT / 'tools/train.py', config, '--work-dir', folder, '--resume']
    if processes > 1:
        torchrun = ['-m', 'torch.distributed.run', '--standalone']
        words = [*torchrun, f'--nproc_per_node={processes}', *words, '--launcher', 'pytorch']
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'output.txt').open('w') as output:
        return subprocess.Popen(
            [sys.executable, *map(str, words)], stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True, env=os.environ | dict(OMP_NUM_THREADS='1'),
        )  # fmt: skip


def finish(run: subprocess.Popen, folder: Path) -> None:
    """Wait for a run that nobody kills."""
    if run.wait(LIMIT):
        sys.exit(f'error: a run failed\n{(folder / "output.txt").read_text()[-3000:]}')


def trainers(run: subprocess.Popen, processes: int) -> list[int]:
    """Process ids of the ranks: the run itself, or torchrun's children."""
    if processes == 1:
        return [run.pid]
    try:
        children = Path(f'/proc/{run.pid}/task/{run.pid}/children').read_text().split()
        found = [c for c in children if b'train.py' in Path(f'/proc/{c}/cmdline').read_bytes()]
    except OSError:
        return []
    return sorted(map(int, found))  # as they were started, by rank


def wait_for(
    moment: str, run: subprocess.Popen, folder: Path, processes: int, chance: random.Random
) -> list[int]:
    """Wait for a moment of that kind.

    Returns:
        The processes that may be killed; none if the run ended before.
    """
    known = set(folder.glob('*.pth'))
    if moment == 'starting':
        time.sleep(chance.uniform(0.1, 6))
    else:
        # The run is to get further each time.
        while not set(folder.glob('*.pth')) - known and run.poll() is None:
            time.sleep(0.01)
        if moment == 'training':
            time.sleep(chance.uniform(0, 1.5))
    found = trainers(run, processes)
    while moment == 'writing' and run.poll() is None and not unfinished(folder):
        pass  # a file is written in some milliseconds
    if run.poll() is not None:
        return []
    return found if len(found) == processes else [run.pid]  # torchrun before it has children


def unfinished(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith('.pth.partial')]


def kill(run: subprocess.Popen, folder: Path, pids: list[int], victim: int) -> dict | None:
    """Kill one process and wait for the end of the others; None if the run was through."""
    os.kill(victim, signal.SIGKILL)
    partial, begin = unfinished(folder), time.monotonic()
    run.wait(LIMIT)
    seconds = time.monotonic() - begin
    with suppress(ProcessLookupError):  # data workers, and children of a torchrun that is dead
        os.killpg(run.pid, signal.SIGKILL)
    if run.returncode == 0:
        return None
    steps = [int(path.stem.split('_')[1]) for path in folder.glob('iter_*.pth')]
    whom = 'the run' if victim == run.pid else f'rank {pids.index(victim)}'
    return dict(whom=whom, saved=max(steps, default=0), partial=partial, seconds=seconds)


def same(a: Any, b: Any) -> bool:
    """Whether two values of checkpoints are equal, bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def end_of(folder: Path) -> dict:
    """What decides how training would go on."""
    newest = folder / (folder / 'last_checkpoint').read_text()
    content = torch.load(newest, weights_only=True)
    names = ('state_dict', 'optimizer', 'param_schedulers', 'processes')
    return dict(iter=content['meta']['iter'], **{name: content[name] for name in names})


def kill_a_run(
    config: Path, folder: Path, processes: int, kills: int, chance: random.Random, first: int
) -> list[dict]:
    """One run, killed and resumed up to so many times, to its end."""
    rows = []
    while len(rows) < kills:
        run = start(config, folder, processes)
        moment = MOMENTS[(first + len(rows)) % len(MOMENTS)]
        pids = wait_for(moment, run, folder, processes, chance)
        row = kill(run, folder, pids, chance.choice(pids)) if pids else None
        if row is None:  # it was through
            finish(run, folder)
            return rows
        rows.append(dict(processes=processes, moment=moment, **row))
    finish(start(config, folder, processes), folder)
    return rows


def main() -> None:
    args = parse_args()
    chance, work = random.Random(args.seed), Path(args.work_dir).resolve()
    shutil.rmtree(work, ignore_errors=True)
    config = work / 'config.py'
    write_config(args, config)
    rows = []
    print('processes  moment    killed   saved  left unfinished      others ended (s)  end')
    for i, processes in enumerate(args.processes):
        share = args.kills * (i + 1) // len(args.processes) - len(rows)
        whole = work / f'whole_{processes}'
        finish(start(config, whole, processes), whole)
        chain = 0
        while share > 0:
            folder = work / f'killed_{processes}_{chain}'
            done = kill_a_run(config, folder, processes, min(share, CHAIN), chance, len(rows))
            identical = same(end_of(folder), end_of(whole))
            for row in done:
                row['identical'] = identical
                print(
                    f'{processes:9d}  {row["moment"]:8s}  {row["whom"]:7s}  {row["saved"]:5d}  '
                    f'{", ".join(row["partial"]) or "-":20s} {row["seconds"]:16.1f}  '
                    f'{"identical" if identical else "DIFFERENT"}',
                    flush=True,
                )
            rows, share, chain = rows + done, share - len(done), chain + 1
    summary = dict(
        kills=len(rows),
        identical=sum(row['identical'] for row in rows),
        inside_writing=sum(bool(row['partial']) for row in rows),
        seed=args.seed,
        **circumstances(),
    )
    print(json.dumps(summary))
    if summary['identical'] < summary['kills']:
        sys.exit(1)


if __name__ == '__main__':
    main()
