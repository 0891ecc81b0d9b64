"""Values by name on a command line."""

import argparse
from typing import Any

from mmengine.config import DictAction

__all__ = ['KeyValues']


class KeyValues(DictAction):
    """mmengine's ``key=value``, which may be lists and tuples; says what it cannot read."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Take them over."""
        for text in values:
            key, sign, value = text.partition('=')
            try:
                self._parse_iterable(value)
                read = bool(key and sign) and 'dict(' not in value and '{' not in value
            except (AssertionError, RecursionError):  # of brackets
                read = False
            if not read:
                raise argparse.ArgumentError(
                    self,
                    f'expected key=value, lists as [a,b] and tuples as (a,b), got {text!r}; write '
                    'a dictionary as key.name=value for each of its names, or in a config file',
                )
        super().__call__(parser, namespace, values, option_string)
