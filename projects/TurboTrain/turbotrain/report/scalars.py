"""What training and validation logged, read from the files of mmengine's ``LocalVisBackend``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .json_text import parse_json

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
        paths: in the order of their names, which are local times. A log that begins beyond what
            training has reached by then comes later, whatever its name says.

    Raises:
        UserError: a file is damaged; a last line that was cut off is left out.
    """
    train: list[dict[str, float]] = []
    validation: list[dict[str, float]] = []
    for entries in _in_order([_entries(path) for path in paths]):
        begin = _begin(entries)
        if begin is not None:
            train = [entry for entry in train if entry['step'] < begin]
            validation = [entry for entry in validation if entry['step'] < begin]
        for entry in entries:
            if _is_training(entry):
                train.append(entry)
            else:
                found = entry | dict(step=train[-1]['step'] if train else 0)
                if not validation or _measured(validation[-1]) != _measured(found):
                    validation.append(found)  # others were repeated by a run that went on
    return Scalars(tuple(train), tuple(validation))


def _in_order(logs: list[list[dict[str, float]]]) -> Iterator[list[dict[str, float]]]:
    """Clocks are set back, and logs named by them: each goes on from what another has reached."""
    steps = [[entry['step'] for entry in log if _is_training(entry)] for log in logs]
    # An entry may be missing on either side of an interruption.
    gap = 2 * max((own[1] - own[0] for own in steps if len(own) > 1), default=0)
    left, reached = list(range(len(logs))), 0
    while left:
        # One that only validated comes after training.
        fitting = [i for i in left if (steps[i][0] <= reached + gap if steps[i] else reached)]
        begun = [i for i in left if steps[i]] or left
        chosen = fitting[0] if fitting else min(begun, key=lambda i: steps[i][:1])
        left.remove(chosen)
        reached = max([reached, *steps[chosen][-1:]])
        yield logs[chosen]


def _begin(entries: Sequence[dict[str, float]]) -> float | None:
    return next((entry['step'] for entry in entries if _is_training(entry)), None)


def _measured(entry: dict) -> dict:
    return {key: value for key, value in entry.items() if key not in ('time', 'data_time')}


def _is_training(entry: dict) -> bool:
    return 'iter' in entry or 'lr' in entry


def _entries(path: Path) -> list[dict[str, float]]:
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line)
            if not isinstance(entry, dict) or type(entry.get('step')) is not int:
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
