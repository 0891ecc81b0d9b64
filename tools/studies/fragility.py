"""Why does training from scratch fail in the paper? ``python tools/studies/fragility.py``.

The paper's one-time training of all agents and frames falls far behind that of single frames; here
it hardly does. Choices that the paper leaves open, or that are ours alone, could bring that about.
Each of them is made by itself, and all together, in one-time training from scratch, and in
TurboTrain without and with balancing, at the same number of iterations in all, on the mini set.
Writes ``docs/results.json`` and its table in ``docs/results.md``. Typed again it goes on where it
was. Rows that were measured at the same settings before, and are not asked for, stay. The last line
is one JSON object.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

from mmengine.config import Config

from tools.benchmark.results import RESULTS
from tools.studies.arms import THREE_ARMS, compare
from turbotrain.commands import run_tool
from turbotrain.recipes.settings import add_comparison_arguments

# Of the trunk, which is pretrained with them.
TRUNK = {
    'no residual path over frames': {'temporal_neck.residual': False},
    'no time embedding': {'temporal_neck.timed': False},
    'post-norm over frames': {'temporal_neck.post_norm': True},
}
# Of the training with labels; pretraining keeps what was found for it.
LOSSES = {
    "prediction's weight 1": {'trajectory_head.loss_weight': 1.0},
    'past frames with gradients': {'past_gradients': True},
    'no velocity head': {'velocity_head': None, 'trajectory_head.motion_channels': 0},
}
RATE = 3


def no_warm_up(cfg: Config) -> None:
    """Start at the full learning rate."""
    cfg.param_scheduler = [one for one in cfg.param_scheduler if one.type != 'LinearLR']


def no_clipping(cfg: Config) -> None:
    """Take gradients as they are."""
    cfg.optim_wrapper.clip_grad = None


def higher_rate(cfg: Config) -> None:
    """Learn at three times the rate, all along."""
    cfg.optim_wrapper.optimizer.lr *= RATE
    for one in cfg.param_scheduler:
        if 'eta_min' in one:
            one.eta_min *= RATE


STEPS = {
    'no warm-up': no_warm_up,
    'no clipping': no_clipping,
    f'{RATE} times the rate': higher_rate,
}
ALL = 'all of them'
CHOICES = ('ours', *TRUNK, *LOSSES, *STEPS, ALL)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_comparison_arguments(parser)
    parser.add_argument('--out', type=Path, default=RESULTS, help='JSON file')
    parser.add_argument('--choices', nargs='+', choices=CHOICES, default=CHOICES, metavar='CHOICE')
    return parser.parse_args()


def choose(choice: str, stage: str, cfg: Config) -> None:
    """Make one of :data:`CHOICES` in the config of a stage."""
    pretrains = stage == 'pretraining'
    detector = 'model.detector' if pretrains else 'model'
    for name, options in (TRUNK if pretrains else TRUNK | LOSSES).items():
        if choice in (name, ALL):
            cfg.merge_from_dict({f'{detector}.{key}': value for key, value in options.items()})
    for name, change in STEPS.items():
        if choice in (name, ALL) and not pretrains:
            change(cfg)


def main() -> None:
    args = parse_args()
    changes = {choice: partial(choose, choice) for choice in args.choices}
    compare('fragility', 'choice', changes, CHOICES, args, THREE_ARMS)


if __name__ == '__main__':
    run_tool(main)
