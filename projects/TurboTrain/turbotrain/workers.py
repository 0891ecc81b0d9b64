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

__all__ = ['begin_to_clean_up', 'end_children_too', 'follow_parent', 'terminable', 'worker_pool']

# In a worker: whether it has been told to end, and whether it has anything to clean up.
_ending, _at_work = threading.Event(), threading.Event()
_PATIENCE = 2  # s that a worker has to clean up
_DROPPED = 5  # s after which what SIGTERM has raised has not arrived
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


class _Ending:
    """How far a command is that was told to end. No locks: a signal may find them taken."""

    asked = cleans_up = again = False


@contextmanager
def terminable() -> Iterator[None]:
    """Have SIGTERM raise SystemExit meanwhile, so that temporary files go and workers end.

    Nothing changes outside the main thread, or where somebody handles the signal already.
    """
    in_main = threading.current_thread() is threading.main_thread()
    begins = in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if begins:
        signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except BaseException:
        begin_to_clean_up()
        raise
    finally:
        if begins:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _Ending.asked = _Ending.cleans_up = False


def begin_to_clean_up() -> None:
    """What SIGTERM has raised, if anything, has arrived: nothing is to interrupt what follows."""
    _Ending.cleans_up = _Ending.asked


def _end(number: int, frame: FrameType | None) -> None:
    if _Ending.cleans_up or (_Ending.asked and not _Ending.again):
        return  # once is enough
    if not _Ending.asked:
        _Ending.asked = True
        _thread.start_new_thread(_ask_again, ())
    _Ending.again = False
    sys.exit('error: ended by SIGTERM')


def _ask_again() -> None:
    """Python drops an exception that is raised while it deletes an object: raise it once more."""
    time.sleep(_DROPPED)
    while _Ending.asked and not _Ending.cleans_up:
        _Ending.again = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_DROPPED)


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
            begin_to_clean_up()
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
