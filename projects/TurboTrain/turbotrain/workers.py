"""Processes that read or make files side by side, and end with the one that started them."""

import _thread
import ctypes
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

from .errors import UserError

__all__ = ['end_children_too', 'follow_parent', 'terminable', 'worker_pool']

# In a worker: whether it has been told to end, and whether it has anything to clean up.
_ending, _at_work = threading.Event(), threading.Event()
_PATIENCE = 2  # s that a worker has to clean up
_PR_SET_PDEATHSIG = 1
_forks: list[int | None] = []  # who is about to fork, if its children are to follow it


def end_children_too() -> None:
    """Have the kernel send SIGTERM to what the main thread forks from now on when this one ends.

    torch's data workers look for their parent while they wait for work, but not while they wait to
    hand over a result. Does nothing twice, and nothing but on Linux.
    """
    if _forks or sys.platform != 'linux':
        return
    prctl = ctypes.CDLL(None).prctl  # looked up before a fork, after which it might wait for a lock

    def before() -> None:
        # The kernel takes the end of the thread that forked for the parent's.
        in_main = threading.current_thread() is threading.main_thread()
        _forks.append(os.getpid() if in_main else None)

    def in_child() -> None:
        parent = _forks[-1]
        if parent is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

    _forks.append(None)
    os.register_at_fork(before=before, after_in_parent=_forks.pop, after_in_child=in_child)


class _Ended(SystemExit):
    """Raised by SIGTERM."""


@contextmanager
def terminable() -> Iterator[None]:
    """Have SIGTERM raise SystemExit meanwhile, so that temporary files go and workers end.

    Nothing changes outside the main thread, or where somebody handles the signal already.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    tell = sys.unraisablehook

    def raise_again(dropped: Any) -> None:
        # Python drops what is raised while it deletes an object.
        tell(dropped)
        if isinstance(dropped.exc_value, _Ended):
            signal.signal(signal.SIGTERM, _end)
            _thread.start_new_thread(_kill_soon, ())  # threading's locks may be taken

    sys.unraisablehook = raise_again
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.unraisablehook = tell


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what cleans up is not interrupted
    raise _Ended('error: ended by SIGTERM')


def _kill_soon() -> None:
    time.sleep(0.1)  # the object is gone by then, or it is dropped once more
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes; an error, Ctrl-C, SIGTERM or SIGKILL ends them within seconds.

    Args:
        workers: how many processes.

    Raises:
        UserError: a worker died.
    """
    with terminable():
        pool = _Pool(workers, initializer=follow_parent)
        try:
            yield pool
        except BrokenProcessPool as error:
            raise UserError(
                'a worker process died, for want of memory mostly; fewer --workers need less'
            ) from error
        except BaseException:
            _stop(pool)
            raise
        finally:
            pool.shutdown()


def _stop(pool: ProcessPoolExecutor) -> None:
    """End a pool's workers, by force if they take too long to clean up."""
    processes = list((pool._processes or {}).values())
    for process in processes:
        process.terminate()
    end = time.monotonic() + _PATIENCE
    for process in processes:
        if not wait([process.sentinel], max(0, end - time.monotonic())):
            process.kill()
    # A worker that ended in the middle of a result would have the pool wait for the rest of it.
    pool._result_queue._writer.close()


class _Pool(ProcessPoolExecutor):
    """Workers that know whether they are at work."""

    def submit(self, work: Callable, /, *args: Any, **kwargs: Any) -> Future:
        return super().submit(_work_on, work, *args, **kwargs)

    def map(self, work: Callable, items: Iterable) -> Iterator:
        # The base class would cancel what is left, and then trip over it when its workers are dead.
        futures = deque(self.submit(work, item) for item in items)
        return (futures.popleft().result() for _ in range(len(futures)))


def _work_on(work: Callable, *args: Any, **kwargs: Any) -> Any:
    _at_work.set()
    try:
        return work(*args, **kwargs)
    finally:
        _at_work.clear()
        if _ending.is_set():
            os._exit(1)  # the pool would take SystemExit for a result, and go on to the next work


def follow_parent() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_worker)
    threading.Thread(target=_watch_parent, daemon=True).start()


def _end_worker(number: int, frame: FrameType | None) -> None:
    if not _at_work.is_set():
        os._exit(1)
    signal.signal(number, signal.SIG_IGN)
    _ending.set()
    sys.exit()


def _watch_parent() -> None:
    wait([parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(1)
