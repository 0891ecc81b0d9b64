"""What the commands in ``tools/`` share: from a command line to a runner."""

from .config import (
    ROOT,
    add_common_arguments,
    enable_amp,
    load_config,
    need,
    only_dataset,
    read_config,
)
from .running import explain, launch, run_tool

__all__ = [
    'ROOT',
    'add_common_arguments',
    'enable_amp',
    'explain',
    'launch',
    'load_config',
    'need',
    'only_dataset',
    'read_config',
    'run_tool',
]
