"""JSON files of a dataset: outside input, read into plain values within bounds."""

import json
import re
from typing import Any

from .errors import DataFileError, said, shown
from .files import read_bytes

__all__ = ['finite_number', 'load_json', 'member']

_MAX_BYTES = 2**27  # ten times what lists of all frames of DAIR-V2X take
_MAX_DIGITS = 40  # reading an integer takes time that grows faster than its length
_HUGE = 1e12  # what no place, angle or size is; false for NaN as well
_NUMBER = re.compile(r'\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*')
_MISSING = object()


def load_json(path: str, kind: type, backend_args: dict | None = None) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        kind: what it holds at the top: ``list`` or ``dict``.
        backend_args: where mmengine's fileio finds it; local disk by default.

    Raises:
        DataFileError: the file is missing, too large, no JSON, repeats a key of a mapping, or
            holds another kind of value.
    """
    content = read_bytes(path, backend_args)
    if len(content) > _MAX_BYTES:
        raise DataFileError(path, f'has {len(content)} bytes, expected {_MAX_BYTES} at most')
    try:
        found = json.loads(
            bytes(content),
            parse_int=_integer,
            parse_constant=_no_number,
            object_pairs_hook=_mapping,
        )
    except (ValueError, RecursionError) as error:
        raise DataFileError(path, f'is not valid JSON ({said(error)})') from error
    if not isinstance(found, kind):
        raise DataFileError(
            path, f'expected a {kind.__name__} at the top, got {type(found).__name__}'
        )
    return found


def member(path: str, mapping: Any, key: str, where: str = '') -> Any:
    """The value under a key of a mapping.

    Args:
        path: the file, for the error.
        mapping: what should be a mapping.
        key: the key.
        where: what the mapping is in the file, such as ``'[3].'``, for the error.

    Raises:
        DataFileError: it is no mapping, or lacks the key.
    """
    value = mapping.get(key, _MISSING) if isinstance(mapping, dict) else _MISSING
    if value is _MISSING:
        raise DataFileError(path, f'key {where + key!r} is missing')
    return value


def finite_number(value: Any) -> float | None:
    """A number, or a text that is one, as the authors' own files have it; None if neither."""
    if isinstance(value, str):
        good = len(value) <= _MAX_DIGITS and _NUMBER.fullmatch(value)
        value = float(value) if good else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < _HUGE else None


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f'a number of {len(text)} digits')
    return int(text)


def _no_number(text: str) -> None:
    raise ValueError(f'{text} is no number')


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f'key {shown(twice)} is there twice')
    return found
