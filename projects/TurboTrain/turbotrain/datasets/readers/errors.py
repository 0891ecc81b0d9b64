"""The errors that readers raise."""

__all__ = ['DataFileError', 'MissingFileError']


class DataFileError(ValueError):
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
