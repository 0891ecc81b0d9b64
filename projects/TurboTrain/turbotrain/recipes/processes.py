"""The project's commands, several at a time, and what a training has logged."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ..commands import ROOT
from ..report.scalars import Scalars, read_scalars
from ..workers import terminable

__all__ = ['CommandError', 'Jobs', 'training_log']

Item, Result = TypeVar('Item'), TypeVar('Result')


class CommandError(RuntimeError):
    """A command failed; its log says why."""


class Jobs:
    """Works on several things at a time; what ends the work ends the commands that it has started.

    Args:
        count: how many at a time.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self._lock, self._ended = threading.Lock(), False
        self._running: set[subprocess.Popen] = set()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Call a function, which may :meth:`call` commands, with each item; in the main thread."""
        pool = ThreadPoolExecutor(self.count)
        with terminable():
            try:
                return list(pool.map(function, items))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                with self._lock:
                    self._ended = True
                    for process in self._running:
                        process.terminate()
                raise
            finally:
                pool.shutdown()

    def call(self, tool: str, folder: Path, *words: object) -> None:
        """Type one of the project's commands; what it says goes to a file in the folder.

        Args:
            tool: a file of ``tools/``, without its ending.
            folder: its work directory.
            words: its arguments.

        Raises:
            CommandError: it failed, or the work has been ended.
        """
        command = [sys.executable, ROOT / f'tools/{tool}.py', *words, '--work-dir', folder]
        log = folder / f'{tool}.log'
        with log.open('a') as file:
            with self._lock:
                if self._ended:
                    raise CommandError(f'{tool} was not started: the work has been ended')
                process = subprocess.Popen(
                    list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, cwd=ROOT
                )
                self._running.add(process)
            code = process.wait()
            with self._lock:
                self._running.discard(process)
        if code:
            said = log.read_text().strip().splitlines() or ['it said nothing']
            raise CommandError(f'{tool} failed, see {log}: {said[-1]}')


def training_log(folder: Path) -> Scalars:
    """What training in a work directory has logged, its resumed parts joined."""
    return read_scalars(sorted(folder.glob('*/vis_data/scalars.json')))
