"""JSON of any origin, as numbers that can be drawn."""

import json
from typing import Any

__all__ = ['parse_json']

_DIGITS = 15  # that a float holds


def parse_json(text: str) -> Any:
    """Parse JSON; whole numbers that are too long for a float's digits become floats, or infinite.

    Raises:
        ValueError: it is no JSON, or is nested too deep.
    """
    try:
        return json.loads(text, parse_int=_number)
    except RecursionError:
        raise ValueError('it is nested too deep') from None


def _number(text: str) -> int | float:
    return int(text) if len(text) <= _DIGITS else float(text)
