"""What becomes of memory between two steps of a training, or two samples."""

import ctypes

__all__ = ['give_back_freed_memory', 'keep_freed_memory']

# glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def give_back_freed_memory() -> None:
    """Give the system what is free now, for a process that runs for long.

    Blocks of many sizes, some of which live for seconds, leave holes that nothing fits into, and a
    process grows though it uses no more. Does nothing where the C library is not glibc.
    """
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


def keep_freed_memory() -> None:
    """Have the C library keep what is freed in this process and those it forks.

    By default large blocks go back to the system, step by step, and every page of the next step
    costs a fault: half of the time of a full-size model's fusion over frames. Does nothing where
    the C library is not glibc.
    """
    change = getattr(ctypes.CDLL(None), 'mallopt', None)
    if change is not None:
        change(_M_MMAP_MAX, 0)
        change(_M_TRIM_THRESHOLD, 2**31 - 1)
