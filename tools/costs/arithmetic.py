"""What a step's convolutions and matrix products would take at their best."""

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ['best_rate', 'count_operations', 'wall_seconds']


def wall_seconds() -> float:
    """Time on the wall, once all is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def count_operations(run: Callable[[], object]) -> int:
    """Of the convolutions and matrix products of a call; it does not see into what is compiled."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def best_rate(
    clock: Callable[[], float], dtype: torch.dtype = torch.float32, tries: int = 5
) -> float:
    """Operations a second of a 3x3 convolution on maps in the channels-last format.

    Args:
        clock: seconds, once all is done; those that it is compared with are counted by the same.
        dtype: of maps and weights.
        tries: how many times it is timed; the best counts.
    """
    gpu = torch.cuda.is_available()
    where = dict(device='cuda' if gpu else 'cpu', dtype=dtype)
    channels, launches = (256, 20) if gpu else (64, 5)  # so much that it fills the device
    maps = torch.rand(8, channels, 64, 64, **where).contiguous(memory_format=torch.channels_last)
    layer = nn.Conv2d(channels, channels, 3, padding=1, **where).requires_grad_(False)
    operations = count_operations(lambda: layer(maps))
    times = []
    for _ in range(tries):
        start = clock()
        for _ in range(launches):
            layer(maps)
        times.append((clock() - start) / launches)
    return operations / min(times)
