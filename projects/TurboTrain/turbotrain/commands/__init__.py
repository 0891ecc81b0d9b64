"""What the commands in ``tools/`` share: from a command line to a runner."""

import os

# A thread that waits for another sleeps. OpenMP lets it spin, and on a machine that does other work
# it then burns the very time that the other one needs. OpenMP reads this when torch is loaded.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from .config import (
    ROOT,
    add_common_arguments,
    enable_amp,
    load_config,
    mixed_precision,
    need,
    only_dataset,
    read_config,
)
from .key_values import KeyValues
from .running import explain, launch, run_tool

__all__ = [
    'ROOT',
    'KeyValues',
    'add_common_arguments',
    'enable_amp',
    'mixed_precision',
    'explain',
    'launch',
    'load_config',
    'need',
    'only_dataset',
    'read_config',
    'run_tool',
]
