"""What a command ends with when its user can mend it."""

__all__ = ['UserError']


class UserError(Exception):
    """A mistake on the command line or in a config that its message tells how to mend."""
