"""What a command ends with when its user can mend it: a sentence, not a trace."""

__all__ = ['CheckpointError', 'NumericalError', 'SettingError', 'UserError']


class UserError(Exception):
    """A mistake on the command line or in a config that its message tells how to mend."""


class SettingError(UserError, ValueError):
    """A value in a config or an argument that cannot be; says what was expected."""


class CheckpointError(UserError):
    """A checkpoint that cannot be read or written; names the file and what is wrong with it."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f'{self.path}: {self.problem}'


class NumericalError(UserError):
    """Training met NaN or infinite losses or gradients more often than the config allows."""
