"""What training and validation logged, read from the files of mmengine's ``LocalVisBackend``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError

__all__ = ['Scalars', 'Series', 'read_scalars']

_COUNTERS = frozenset(('step', 'iter', 'epoch'))


@dataclass(frozen=True)
class Series:
    """The values of one name.

    Attributes:
        steps: (N,) iterations.
        values: (N,), NaN where training had none.
    """

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Scalars:
    """All entries, in the order of training; what was trained twice counts as the second time.

    Attributes:
        train: entries of training, each with ``step``, its iteration.
        validation: entries of validation; ``step`` is the last logged iteration before it. (What
            mmengine writes there is an epoch, and always 0 in a loop of iterations.)
    """

    train: tuple[dict[str, float], ...] = ()
    validation: tuple[dict[str, float], ...] = ()

    def training_series(self) -> dict[str, Series]:
        """By name, in the order in which names appear."""
        return _series(self.train)

    def validation_series(self) -> dict[str, Series]:
        """By name, in the order in which names appear."""
        return _series(self.validation)

    @property
    def iterations(self) -> int:
        """How far training came."""
        return int(self.train[-1]['step']) if self.train else 0

    @property
    def seconds(self) -> float:
        """What the iterations took by the log's ``time``, validation left out; NaN if unknown."""
        steps = np.array([entry['step'] for entry in self.train])
        times = np.array([entry.get('time', np.nan) for entry in self.train])
        return float((np.diff(steps, prepend=0) * times).sum()) if len(times) else float('nan')


def read_scalars(paths: Sequence[Path]) -> Scalars:
    """Join the logs of a run that may have been resumed.

    Args:
        paths: in the order of time.

    Raises:
        UserError: a file is damaged; a last line that was cut off is left out.
    """
    train: list[dict[str, float]] = []
    validation: list[dict[str, float]] = []
    for path in paths:
        entries = _entries(path)
        begin = next((entry['step'] for entry in entries if _is_training(entry)), None)
        if begin is not None:
            train = [entry for entry in train if entry['step'] < begin]
            validation = [entry for entry in validation if entry['step'] < begin]
        for entry in entries:
            if _is_training(entry):
                train.append(entry)
            else:
                validation.append(entry | dict(step=train[-1]['step'] if train else 0))
    return Scalars(tuple(train), tuple(validation))


def _is_training(entry: dict) -> bool:
    return 'iter' in entry or 'lr' in entry


def _entries(path: Path) -> list[dict[str, float]]:
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or not isinstance(entry.get('step'), int):
                raise ValueError("expected an object with a number 'step'")
        except ValueError as error:
            if number == len(lines):
                break  # written when the run was stopped
            raise UserError(f'{path}, line {number}: {error}') from None
        found.append({key: v for key, v in entry.items() if isinstance(v, int | float)})
    return found


def _series(entries: Sequence[dict[str, float]]) -> dict[str, Series]:
    names = dict.fromkeys(name for entry in entries for name in entry)
    found = {}
    for name in names:
        if name not in _COUNTERS:
            own = [(entry['step'], entry[name]) for entry in entries if name in entry]
            steps, values = zip(*own, strict=True)
            found[name] = Series(np.array(steps), np.array(values, dtype=np.float64))
    return found
