"""The errors that readers raise."""

import reprlib

from ...errors import UserError

__all__ = ['DataFileError', 'MissingFileError', 'said', 'shown']


class DataFileError(UserError, ValueError):
    """A file of a dataset that is not as its format says; names the file and what was expected.

    It survives the way from a worker process, which rebuilds it from its arguments or its text.
    """

    def __init__(self, path: str, problem: str = '') -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f'{self.path}: {self.problem}' if self.problem else self.path


class MissingFileError(DataFileError):
    """The file is not there at all."""


class _Short(reprlib.Repr):
    """Names the kind of what it does not know: another object's own text may have no end."""

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < 200 else 'a huge integer'

    def repr_instance(self, x: object, level: int) -> str:
        return repr(x) if isinstance(x, (float, bool, type(None))) else f'<{type(x).__name__}>'


_SHORT = _Short()
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """A few words of a value from a file, for a message."""
    return _SHORT.repr(value)[:80]


def said(error: Exception) -> str:
    """What another library's error says, in one line; a damaged file may make it endless."""
    return ' '.join(str(error).split())[:300]
