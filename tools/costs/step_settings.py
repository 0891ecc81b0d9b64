"""Which settings make a step fast on this device: ``python tools/costs/step_settings.py``.

Times training steps of mini's fine-tuning by precision (torch's default, float32 alone, bfloat16),
samples in a batch, pinned memory, and compiled backbone and necks; and, by precision, of mini's
pretraining and at full size. For each: seconds a sample, samples a second, memory at the peak of a
period of free and suppressing steps, seconds until it runs evenly, which includes compilation, and
the share of what the device does in large convolutions of the same precision. Minutes on a GPU. On
a CPU it measures what works there. The last line is one JSON object.
"""

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import turbotrain.commands  # noqa: F401 - how threads wait, before torch is loaded

# isort: split
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tools.costs.arithmetic import best_rate, count_operations, wall_seconds
from tools.costs.memory import peak_megabytes
from tools.costs.step_times import Step
from turbotrain.commands import enable_amp
from turbotrain.recipes.circumstances import circumstances

CONFIGS = dict(
    mini='configs/turbotrain/mini/finetune_mini_v2xpnp.py',
    pretraining='configs/turbotrain/mini/pretrain_mini_v2xpnp.py',
    full='configs/turbotrain/finetune_v2xpnp.py',
)
COMPILED = ('backbone', 'neck', 'bev_neck')
"""What gets maps of the same shape in every step, but for the number of agents."""


@dataclass(frozen=True)
class Setting:
    """How a training runs.

    Attributes:
        config: of :data:`CONFIGS`.
        precision: ``'default'``, in which a GPU takes TF32 for convolutions; ``'float32'``, in
            which it does not; or ``'bfloat16'``, which is mixed. A CPU has no TF32.
        batch_size: samples.
        pinned: whether batches come in memory that a GPU copies from by itself.
        compiled: whether :data:`COMPILED` are.
    """

    config: str = 'mini'
    precision: str = 'default'
    batch_size: int = 1
    pinned: bool = False
    compiled: bool = False


def settings(batch_sizes: list[int], full: bool) -> list[Setting]:
    """What is measured on this device, one change at a time."""
    gpu = torch.cuda.is_available()
    precisions = ('default', *(['float32'] if gpu else []), 'bfloat16')
    first = batch_sizes[0]
    found = [Setting(precision=p, batch_size=size) for p in precisions for size in batch_sizes]
    if gpu:
        found.append(Setting(batch_size=first, pinned=True))
    found.append(Setting(batch_size=first, compiled=True))
    others = ('pretraining', 'full') if full else ('pretraining',)
    return found + [Setting(config, precision=p) for config in others for p in precisions]


def measure(setting: Setting, data_root: Path, steps: int) -> dict:
    """Figures of a training by a setting."""
    cfg = Config.fromfile(ROOT / CONFIGS[setting.config])
    cfg.train_dataloader.dataset.data_root = str(data_root)
    cfg.train_dataloader.update(batch_size=setting.batch_size, pin_memory=setting.pinned)
    dtype = torch.float32
    if setting.precision == 'bfloat16':
        cfg.optim_wrapper.dtype = 'bfloat16'
        enable_amp(cfg)
        dtype = torch.bfloat16
    torch.backends.cudnn.allow_tf32 = setting.precision != 'float32'
    step = Step(cfg)
    period = range(step.period)
    # Before compilation, which hides them.
    operations = count_operations(lambda: [step.run() for _ in period]) / step.period
    for name in COMPILED if setting.compiled else ():
        if getattr(step.model, name) is not None:
            getattr(step.model, name).compile(dynamic=True)
    warm_up = sum(step.run() for _ in period)
    steps = -(-steps // step.period) * step.period
    seconds = statistics.mean(step.run() for _ in range(steps))
    peak = max(peak_megabytes(step.run) for _ in period)
    return dict(
        seconds_per_sample=round(seconds / setting.batch_size, 4),
        samples_per_second=round(setting.batch_size / seconds, 2),
        megabytes=round(peak),
        share_of_peak=round(operations / best_rate(wall_seconds, dtype) / seconds, 3),
        warm_up_seconds=round(warm_up, 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data-root', type=Path, default=ROOT / 'data/mini_v2xpnp')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 4, 16])
    parser.add_argument(
        '--steps', type=int, default=12, help='timed for each setting, rounded up to whole periods'
    )
    parser.add_argument('--no-full', action='store_true', help='leave out the full size')
    args = parser.parse_args()
    args.data_root = args.data_root.resolve()
    init_default_scope('mmdet3d')
    rows = []
    for setting in settings(args.batch_sizes, full=not args.no_full):
        rows.append(asdict(setting) | measure(setting, args.data_root, args.steps))
        print('  '.join(f'{key} {value}' for key, value in rows[-1].items()), flush=True)
    print(json.dumps(dict(settings=rows, **circumstances())))


if __name__ == '__main__':
    main()
