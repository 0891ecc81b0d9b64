"""What the recipes of a command have in common, and the options that say it."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from ..commands import ROOT, mixed_precision


@dataclass(frozen=True)
class Settings:
    """What is the same for all recipes that are compared.

    Attributes:
        work_dir: where the stages' folders are.
        split: ``'val'`` or ``'test'``: what the stages are measured on.
        epoch_iters: iterations that stand for an epoch, instead of the recipes' own.
        jobs: how many trainings run at a time.
        data_root: the data set's folder, instead of the configs' own.
        amp: whether trainings are in mixed precision.
    """

    work_dir: Path
    split: str = 'test'
    epoch_iters: int | None = None
    jobs: int = 1
    data_root: Path | None = None
    amp: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a command that runs recipes."""
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/recipes')
    parser.add_argument('--data-root', type=Path, help="default: the configs'")
    parser.add_argument('--split', choices=['val', 'test'], default='test', help='to measure on')
    parser.add_argument(
        '--epoch-iters', type=int, help='iterations for an epoch, instead of what recipes say'
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')


def add_comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a command that compares recipes."""
    add_arguments(parser)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--jobs', type=int, default=1, help='trainings at a time')


def settings_of(args: argparse.Namespace) -> Settings:
    """What the options of either say; changes to the project's root, see :func:`go_to_root`."""
    go_to_root(args)
    return Settings(
        work_dir=args.work_dir,
        split=args.split,
        epoch_iters=args.epoch_iters,
        jobs=getattr(args, 'jobs', 1),
        # A stage is the same wherever the project lies.
        data_root=args.data_root and from_root(args.data_root),
        amp=args.amp,
    )


def precision_of(args: argparse.Namespace) -> str | None:
    """What ``--amp`` has trainings run in here; None without it, for float32."""
    return mixed_precision() if args.amp else None


def from_root(path: Path) -> Path:
    """A path as seen from the project's root, if it lies there."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def go_to_root(args: argparse.Namespace) -> None:
    """Change to the project's root, as configs' paths want it.

    Paths on the command line, which are relative to where it was typed, are made absolute before.
    """
    for name, value in vars(args).items():
        if isinstance(value, Path):
            setattr(args, name, value.resolve())
    os.chdir(ROOT)
