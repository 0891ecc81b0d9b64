"""From a command line to a runner, on one process or many, with a GPU or without."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..datasets.readers import DataFileError

__all__ = ['ROOT', 'add_common_arguments', 'enable_amp', 'launch', 'load_config', 'run_tool']

ROOT = Path(__file__).resolve().parents[4]
_AMP = dict(
    OptimWrapper='AmpOptimWrapper',
    ConflictSuppressingOptimWrapper='AmpConflictSuppressingOptimWrapper',
)


def add_common_arguments(parser: argparse.ArgumentParser, checkpoint: bool = False) -> None:
    """Add the arguments that mmdet3d's train.py and test.py share."""
    parser.add_argument('config', help='config file')
    if checkpoint:
        parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='where logs, checkpoints and metrics go')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='changes to the config, key=value; paths are relative to the project, as in configs',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='launcher'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config that the command line names, and change to the project's root.

    Paths on the command line are relative to where it was typed; paths inside configs are relative
    to the project's root, so that every command works from anywhere.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    path = Path(args.config).resolve()
    if not path.is_file():
        raise FileNotFoundError(f'there is no config {args.config!r}')
    work_dir = Path(args.work_dir).resolve() if args.work_dir else None
    os.chdir(ROOT)
    cfg = Config.fromfile(path)
    cfg.launcher = args.launcher
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    if work_dir is None:
        work_dir = ROOT / cfg.get('work_dir', f'work_dirs/{path.stem}')
    cfg.work_dir = str(work_dir)
    return cfg


def enable_amp(cfg: Config) -> None:
    """Turn the optimiser wrapper into its mixed-precision twin."""
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind in _AMP.values():
        return
    if kind not in _AMP:
        raise ValueError(f'--amp knows {sorted(_AMP)}, the config has optim_wrapper.type {kind!r}')
    if not torch.cuda.is_available():
        raise RuntimeError('--amp needs an accelerator: mmengine has no mixed precision on the CPU')
    cfg.optim_wrapper.type = _AMP[kind]


def launch(cfg: Config, task: str) -> Any:
    """Build the runner and have it ``train`` or ``test``; several CPU processes talk through gloo.

    Returns:
        What the runner's method returns.
    """
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        # mmengine's own set-up would pick a CUDA device for each process.
        if cfg.launcher != 'pytorch':
            raise RuntimeError(f'launcher {cfg.launcher!r} needs GPUs; on CPUs use pytorch')
        torch.distributed.init_process_group('gloo')
        cfg.setdefault('model_wrapper_cfg', dict(type='MMDistributedDataParallel', device_ids=None))
    source = cfg.get('load_from')
    if source and '://' not in source and not Path(source).is_file():
        raise FileNotFoundError(
            f'load_from: there is no checkpoint {source!r}. Stage 2 starts from stage 1: run the '
            'pretrain config first, or name its checkpoint with --cfg-options load_from=FILE.'
        )
    try:
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        return getattr(runner, task)()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def run_tool(main: Callable[[], None]) -> None:
    """Run a command's main function; what a user can mend ends it with a sentence, not a trace."""
    try:
        main()
    except (FileNotFoundError, DataFileError) as error:
        sys.exit(f'error: {error}')
