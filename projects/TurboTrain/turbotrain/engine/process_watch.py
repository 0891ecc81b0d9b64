"""Processes of one run notice when one of them is gone, and say which."""

import os
import socket
import sys
import threading
import time
from datetime import timedelta

import torch
from torch.distributed import TCPStore

__all__ = ['ProcessWatch', 'is_loss_of_a_peer']

_INTERVAL = 0.5  # seconds from one sign of life to the next
_EXIT = 3
# What a collective says when another process is no longer there.
_LOST = ('connection closed by peer', 'connection reset', 'connection refused', 'broken pipe',
         'timed out', 'nccl', 'gloo', 'socket')  # fmt: skip


def is_loss_of_a_peer(error: BaseException) -> bool:
    """Whether an error in this process may come of another's end."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {'DistBackendError', 'DistNetworkError', 'DistStoreError'}:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _LOST)


class ProcessWatch:
    """A thread of each process gives signs of life and looks for the others'.

    Without it a collective waits for a process that was killed, or hangs, for as long as the
    backend's time-out says, and then does not tell which one it was. Signs travel by the store that
    the processes met in. When a process has failed, or has given no sign for ``patience`` seconds,
    every other one prints which it was and ends with exit status 3, even out of a collective.

    Args:
        patience: seconds without a sign. 60 is our choice: a process may be held up by its disk.

    Example:
        >>> with ProcessWatch():
        ...     runner.train()
    """

    def __init__(self, patience: float = 60.0) -> None:
        self.patience = patience
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()
        address = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
        # A connection of its own: in the process group's, a collective's set-up may block.
        self._store = TCPStore(*address, is_master=False, timeout=timedelta(seconds=patience))
        self._prefix = f'turbotrain/watch/{os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)}'
        self._seen = {rank: (0, time.monotonic()) for rank in self._others()}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> 'ProcessWatch':
        self._store.set(self._key('name', self.rank), f'{socket.gethostname()}, pid {os.getpid()}')
        self._store.add(self._key('named', self.rank), 1)
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._finish()
        else:
            self._fail(error)

    def _finish(self) -> None:
        """Say that this process is through; the store, if it lives here, is kept for the others."""
        self._store.add(self._key('done', self.rank), 1)
        deadline = time.monotonic() + self.patience
        while self.rank == 0 and self._seen and time.monotonic() < deadline:
            time.sleep(0.1)  # the thread strikes out who is through
        self._end()

    def _fail(self, error: BaseException) -> None:
        """Tell the others of an error, or, if it comes of another's end, wait to learn whose."""
        if is_loss_of_a_peer(error):
            # The thread ends this process as soon as it knows; beyond that nobody is missing.
            self._thread.join(self.patience + 3 * _INTERVAL)
        self._end()
        text = f'{type(error).__name__}: {error}'[:500]
        self._store.set(self._key('fault', self.rank), text)
        self._store.add(self._key('faults', self.rank), 1)
        # The store may live in this process: give the others time to read.
        time.sleep(4 * _INTERVAL)

    def _end(self) -> None:
        self._ended.set()
        self._thread.join(2 * _INTERVAL)

    def _others(self) -> list[int]:
        return [rank for rank in range(self.size) if rank != self.rank]

    def _key(self, what: str, rank: int) -> str:
        return f'{self._prefix}/{what}/{rank}'

    def _watch(self) -> None:
        try:
            while not self._ended.wait(_INTERVAL):
                self._store.add(self._key('life', self.rank), 1)
                lost = self._find_lost()
                if lost is not None:
                    self._stop(lost)
        except RuntimeError as error:  # of any kind: the store cannot be reached
            if not self._ended.is_set():
                self._stop(f'process 0, or the launcher, which keeps the store, is gone ({error})')

    def _find_lost(self) -> str | None:
        """What happened to another process, if something did."""
        now = time.monotonic()
        for rank in list(self._seen):
            count, since = self._seen[rank]
            found = self._store.add(self._key('life', rank), 0)
            if found != count:  # one request for each that lives: they are many on many nodes
                self._seen[rank] = found, now
            elif self._store.add(self._key('faults', rank), 0):
                text = self._store.get(self._key('fault', rank)).decode()
                return f'process {rank} ({self._name(rank)}) failed: {text}'
            elif self._store.add(self._key('done', rank), 0):
                del self._seen[rank]
            elif now - since > self.patience:
                return (
                    f'process {rank} ({self._name(rank)}) gave no sign for {self.patience:.0f} s: '
                    'it was killed, or hangs'
                )
        return None

    def _name(self, rank: int) -> str:
        if not self._store.add(self._key('named', rank), 0):
            return 'never started'
        return self._store.get(self._key('name', rank)).decode()

    def _stop(self, why: str) -> None:
        # The main thread may be inside a collective, which no exception reaches.
        sys.stderr.write(f'\nerror: {why}; process {self.rank} stops. Go on with --resume\n')
        sys.stderr.flush()
        os._exit(_EXIT)
