"""Train a config: ``python tools/train.py configs/turbotrain/pretrain_v2xpnp.py``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))

from turbotrain.commands import (
    add_common_arguments,
    enable_amp,
    launch,
    load_config,
    run_tool,
)
from turbotrain.engine import UserError, newest_checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model')
    add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without one, from the newest whole one in the work dir',
    )
    parser.add_argument(
        '--resume-schedule',
        choices=['checkpoint', 'config'],
        help='whose learning rates and optimiser settings a resumed run has (default: checkpoint)',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 on a GPU, bfloat16 on a CPU',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    named = None if args.resume in (None, 'auto') else str(Path(args.resume).resolve())
    cfg = load_config(args, ['model', 'train_dataloader', 'train_cfg', 'optim_wrapper'])
    if args.amp:
        enable_amp(cfg)
    if args.resume_schedule:
        if 'exact_resume' not in cfg.default_hooks:
            raise UserError('--resume-schedule: default_hooks.exact_resume, which does it, is off')
        cfg.default_hooks.exact_resume.schedule = args.resume_schedule
    if args.resume is not None:
        # Without anything to go on from, the run begins where the config says, stage 1 included.
        checkpoint = named or newest_checkpoint(cfg.work_dir)
        if checkpoint:
            cfg.resume, cfg.load_from = True, checkpoint
        else:
            print(f'--resume: no checkpoint in {cfg.work_dir} yet; starting afresh')
    launch(cfg, 'train')


if __name__ == '__main__':
    run_tool(main)
