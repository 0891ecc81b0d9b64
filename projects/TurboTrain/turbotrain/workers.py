"""Processes that read or make files side by side, and end with the one that started them."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

__all__ = ['terminable', 'worker_pool']

_ending = threading.Event()
_PATIENCE = 2  # s that a worker has to clean up


@contextmanager
def terminable() -> Iterator[None]:
    """Have SIGTERM raise SystemExit meanwhile, so that temporary files go and workers end.

    Nothing changes outside the main thread, or where somebody handles the signal already.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what cleans up is not interrupted
    sys.exit('error: ended by SIGTERM')


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes; an error, Ctrl-C or SIGTERM ends them at once, SIGKILL within seconds.

    Args:
        workers: how many processes.
    """
    with terminable():
        pool = _Pool(workers, initializer=_follow_parent)
        try:
            yield pool
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


class _Pool(ProcessPoolExecutor):
    """Workers take SystemExit for a result and what waits in their queue next: it is not begun."""

    def submit(self, work: Callable, /, *args: Any, **kwargs: Any) -> Future:
        return super().submit(_work_on, work, *args, **kwargs)


def _work_on(work: Callable, *args: Any, **kwargs: Any) -> Any:
    if _ending.is_set():
        sys.exit()
    return work(*args, **kwargs)


def _follow_parent() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_worker)
    threading.Thread(target=_watch_parent, daemon=True).start()


def _end_worker(number: int, frame: FrameType | None) -> None:
    _ending.set()
    threading.Thread(target=_exit_soon, daemon=True).start()
    sys.exit(128 + number)


def _exit_soon() -> None:
    time.sleep(_PATIENCE)
    os._exit(1)


def _watch_parent() -> None:
    wait([parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
