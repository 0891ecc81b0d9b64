"""What works on this machine's GPUs, in ten minutes: ``bash tools/gpu_check.sh`` calls it.

Runs the GPU tests, both stages in float32, bfloat16 and float16, a resumed run, one process a GPU,
spconv's CUDA kernels, and the full-size configs' steps, each within its time and all within
``--seconds``. Prints a table, writes ``work_dirs/gpu_check/result.json``, and ends with the same as
one line of JSON. What fails or finds no time left is named; the exit code is then 1.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = Path('work_dirs/gpu_check')
DATA = Path('data/mini_v2xpnp')
STAGES = {
    stage: f'configs/turbotrain/mini/{stage}_mini_v2xpnp.py' for stage in ('pretrain', 'finetune')
}
# The algorithm that spconv takes on a GPU by itself, forward and backward.
SPCONV = """
import spconv.pytorch as spconv, torch
sites = torch.tensor([[0, 0, 0], [0, 3, 2]], dtype=torch.int32, device='cuda')
features = torch.ones(2, 16, device='cuda', requires_grad=True)
layer = spconv.SubMConv2d(16, 16, 3).cuda()
layer(spconv.SparseConvTensor(features, sites, [4, 4], 1)).features.sum().backward()
assert features.grad.isfinite().all()
"""


@dataclass(frozen=True)
class Part:
    """One command of the check.

    Attributes:
        name: what the table calls it.
        words: the command.
        limit: seconds after which it is ended.
    """

    name: str
    words: tuple[str, ...]
    limit: int


def python(*words: object) -> tuple[str, ...]:
    """A command of this interpreter."""
    return (sys.executable, *map(str, words))


def training(stage: str, folder: str, *options: str, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """One pass of a stage over the mini set; a GPU takes eight samples at a time."""
    batch = ('train_dataloader.batch_size=8', 'train_dataloader.num_workers=4')
    words = python('tools/train.py', STAGES[stage], '--work-dir', OUT / folder, *more)
    if stage == 'finetune':
        options = (f'load_from={OUT}/pretrain-float32/epoch_1.pth', *options)
    return (*words, '--cfg-options', *batch, *options)


def plan(gpus: int) -> list[Part]:
    """The parts in their order, those first that most depends on."""
    parts = [Part('environment', python('tools/check_env.py'), 60)]
    if not (ROOT / DATA / 'v2xpnp_infos_train.npz').exists():
        parts += [
            Part('simulate', python('tools/simulate.py', '--out', DATA), 120),
            Part('infos', python('tools/create_data.py', 'v2xpnp', '--root-path', DATA), 60),
        ]
    tests = python('-m', 'pytest', '-q', 'tests/models/test_gpu.py')
    parts += [
        Part('GPU tests', tests, 150),
        Part('pretrain, float32', training('pretrain', 'pretrain-float32'), 90),
        Part('fine-tune, float32', training('finetune', 'finetune-float32'), 90),
    ]
    for kind in ('bfloat16', 'float16'):
        dtype = f'optim_wrapper.dtype={kind}'
        parts += [
            Part(f'{label}, {kind}', training(stage, f'{stage}-{kind}', dtype, more=('--amp',)), 90)
            for stage, label in (('pretrain', 'pretrain'), ('finetune', 'fine-tune'))
        ]
    resumed = training('finetune', 'finetune-float32', 'train_cfg.max_epochs=2', more=('--resume',))
    processes = training('finetune', 'processes')[2:]
    launched = ('bash', 'tools/dist_train.sh', processes[0], str(gpus), *processes[1:])
    full = python('tools/costs/full_size.py', '--batch-size', 1)
    return [
        *parts,
        Part('resume', resumed, 90),
        Part(f'NCCL, {gpus} process(es)', launched, 120),
        Part("spconv's CUDA kernels", python('-c', SPCONV), 60),
        Part('steps at full size', full, 120),
    ]


def run(part: Part, until: float) -> dict:
    """Run a part; how it went, how long it took, and the last line that it said."""
    limit = min(part.limit, until - time.monotonic())
    if limit < 5:
        return dict(part=part.name, result='not run: no time left', seconds=0.0, said='')
    log = ROOT / OUT / f'{part.name.replace(" ", "_").replace(",", "")}.log'
    start = time.monotonic()
    environment = os.environ | dict(PYTHON=sys.executable)
    with log.open('w') as file:
        try:
            code = subprocess.run(
                part.words, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT,
                timeout=limit, check=False,
            ).returncode  # fmt: skip
            result = 'ok' if code == 0 else f'failed, see {log.relative_to(ROOT)}'
        except subprocess.TimeoutExpired:
            result = f'ended after {limit:.0f} s, see {log.relative_to(ROOT)}'
    said = log.read_text(errors='replace').strip().splitlines() or ['']
    seconds = round(time.monotonic() - start, 1)
    return dict(part=part.name, result=result, seconds=seconds, said=said[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--dry-run', action='store_true', help='show the parts with their limits')
    parser.add_argument('--seconds', type=float, default=600, help='that all parts may take')
    args = parser.parse_args()
    if args.dry_run:
        for part in plan(1):
            words = ' '.join(part.words[1:]).split('\n')[0]
            print(f'{part.name:<24}{part.limit:>5} s  {words[:80]}')
        return
    import torch

    if not torch.cuda.is_available():
        sys.exit(f'gpu_check: torch {torch.__version__} sees no GPU here')
    (ROOT / OUT).mkdir(parents=True, exist_ok=True)
    until, rows = time.monotonic() + args.seconds, []
    for part in plan(torch.cuda.device_count()):
        rows.append(run(part, until))
        row = rows[-1]
        print(f'{row["part"]:<24}{row["seconds"]:>7.1f} s  {row["result"]}', flush=True)
    from turbotrain.recipes.circumstances import circumstances
    from turbotrain.whole_file import write_whole

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found = dict(gpus=gpus, parts=rows, **circumstances('bash tools/gpu_check.sh'))
    write_whole(ROOT / OUT / 'result.json', json.dumps(found, indent=1) + '\n')
    print(json.dumps(found))
    sys.exit(any(row['result'] != 'ok' for row in rows))


if __name__ == '__main__':
    sys.path.insert(0, str(ROOT / 'projects/TurboTrain'))
    main()
