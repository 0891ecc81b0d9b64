"""Values by name on a command line."""

import argparse
import re
from typing import Any

from mmengine.config import DictAction

__all__ = ['KeyValues']

# mmengine would take a dictionary for text.
_DICTIONARY = re.compile(r"""(?:^|[\[(,])\s*(?:dict\(|\{\s*['"\w]+\s*:)""")


class KeyValues(DictAction):
    """mmengine's ``key=value``, which may be lists and tuples; says what it cannot read."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add them to those of the same option before.

        Raises:
            ArgumentError: brackets do not match, or a value is a dictionary.
        """
        for text in values:
            key, sign, value = text.partition('=')
            try:
                self._parse_iterable(value)
                read = bool(key and sign) and not _DICTIONARY.search(value)
            except (AssertionError, RecursionError):  # of brackets
                read = False
            if not read:
                raise argparse.ArgumentError(
                    self,
                    f'expected key=value, lists as [a,b] and tuples as (a,b), got {text!r}; the '
                    'values of a dictionary are given one by one, as key.name=value',
                )
        super().__call__(parser, namespace, values, option_string)
