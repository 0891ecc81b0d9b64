"""Loops over points and boxes, compiled."""

import warnings
from collections.abc import Callable

from numba import njit

__all__ = ['compiled']


def compiled(function: Callable) -> Callable:
    """Compile a function by numba at its first call, to run without Python's lock.

    What is compiled is kept for other processes, in ``__pycache__`` or in the user's cache. Where
    neither can be written (a read-only installation, used by somebody without a home) each process
    compiles for itself, and one warning says so.
    """
    # What is kept names its module, which goes by another name in mmdet3d's tree: to each its own.
    function.__qualname__ = f'{__name__.partition(".")[0]}.{function.__qualname__}'
    try:
        return njit(function, nogil=True, cache=True)
    except RuntimeError:  # numba's: there is no folder for its cache
        # Python shows a warning of one place once.
        warnings.warn(
            'compiled loops cannot be kept on the disk, so that each process compiles them again, '
            'some seconds each time. To keep them, set NUMBA_CACHE_DIR to a folder that only you '
            'can write',
            stacklevel=1,
        )
        return njit(function, nogil=True)
