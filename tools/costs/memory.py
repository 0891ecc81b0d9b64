"""How much memory something takes while it runs."""

import itertools
from collections.abc import Callable
from typing import Any

import torch

__all__ = ['peak_megabytes']


def peak_megabytes(run: Callable[[], object]) -> float:
    """MB that torch has allocated at the peak of a call beyond what was there before it."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        run()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((_start(e), e.nbytes()) for e in events if e.name() == '[memory]')
    return max(itertools.accumulate((nbytes for _, nbytes in changes), initial=0)) / 2**20


def _start(event: Any) -> int:
    # torch before 2.4 counts in microseconds.
    return event.start_ns() if hasattr(event, 'start_ns') else event.start_us()
