"""The error that every reader raises."""

__all__ = ['DataFileError']


class DataFileError(ValueError):
    """A file of a dataset that is not as its format says; names the file and what was expected."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f'{path}: {problem}')
        self.path = path
        self.problem = problem
