"""YAML as plain values, for files some of which were dumped with NumPy arrays in them.

Plain scalars are read by the core schema of YAML 1.2, in which ``000022`` is 22 and ``1:30``,
``1_000`` and ``yes`` are text; PyYAML's own, of YAML 1.1, makes numbers and truth values of all of
them. A key that a mapping repeats is an error, where PyYAML would keep the last.

Values are built from the parser's events one by one, so that depth and size are bounded where they
arise. PyYAML's own composer is recursive in C, and its mappings compare keys that a file may have
made to collide; here keys are text, as in JSON.

V2V4Real's poses carry Python tags that only an unsafe loader would accept. They describe an array
in a few fixed words; those words are read here as data, and every other tag is refused.
"""

import base64
import codecs
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml

from .errors import shown

__all__ = ['load_yaml']

_Parser = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
_YAML = 'tag:yaml.org,2002:'
_APPLY = _YAML + 'python/object/apply:'
_CORES = ('numpy.core.multiarray', 'numpy._core.multiarray')
_MAX_VALUES = 1_000_000  # of an array
_MAX_BYTES = 2**25
_MAX_NODES = 100_000  # aliases written out; annotations have some thousands
_MAX_DEPTH = 64
_MAX_DIGITS = 1000  # reading a number takes time that grows faster than its length
_MAX_DIRECTIVES = 16  # libyaml compares each of them with all others
_DIRECTIVE = re.compile(rb'(?:\A|[\r\n]|\xc2\x85|\xe2\x80[\xa8\xa9])%')
_PLAIN = re.compile(
    r'(?P<null>~|null|Null|NULL|)'
    r'|(?P<bool>true|True|TRUE|false|False|FALSE)'
    r'|(?P<int>[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)'
    r'|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?'
    r'|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))'
)


def load_yaml(text: bytes) -> Any:
    """Read one YAML document.

    Returns:
        None, bool, int, float, str, bytes, list, dict with keys of text, or NumPy arrays.

    Raises:
        YAMLError: it is none, repeats a key, has tags of Python other than NumPy's arrays, nests
            too deep, or stands for too much.
        UnicodeError: its encoding is damaged.
    """
    if len(text) > _MAX_BYTES:
        raise yaml.YAMLError(f'{len(text)} bytes are more than {_MAX_BYTES}')
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = text.decode('utf-16').encode()
    if len(_DIRECTIVE.findall(text)) > _MAX_DIRECTIVES:
        raise yaml.YAMLError(f'it has more than {_MAX_DIRECTIVES} directives')
    parser = _Parser(text)
    try:
        return _Document(parser.get_event).read()
    finally:
        parser.dispose()


class _Document:
    """Builds values from events; ``following`` gives the next one."""

    def __init__(self, following: Callable[[], yaml.Event]) -> None:
        self._next = following
        self._anchors: dict[str, tuple[Any, int]] = {}  # a value, and how many it is made of
        self._count = 0

    def read(self) -> Any:
        self._next()  # the stream begins
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), 1)
        self._next()  # the document ends
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            raise _problem('expected a single document', after)
        return value

    def _value(self, event: yaml.Event, depth: int) -> Any:
        before = self._count
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _problem(f'alias {shown(event.anchor)} stands for nothing before it', event)
            value, size = self._anchors[event.anchor]
            self._add(size, event)
            return value
        self._add(1, event)
        if depth > _MAX_DEPTH:
            raise _problem(f'it is nested deeper than {_MAX_DEPTH} levels', event)
        if isinstance(event, yaml.ScalarEvent):
            kind, value = 'str', event.value
            if event.tag is None and event.implicit[0]:
                kind = (found := _PLAIN.fullmatch(value)) and found.lastgroup
        elif isinstance(event, yaml.SequenceStartEvent):
            kind, value = 'seq', self._sequence(depth)
        else:
            kind, value = 'map', self._mapping(depth)
        if event.tag not in (None, '!'):
            value = _tagged(event.tag, value, event)
        elif kind in _READ:
            value = _checked(_READ[kind], value, event)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._count - before
        return value

    def _add(self, count: int, event: yaml.Event) -> None:
        self._count += count
        if self._count > _MAX_NODES:
            raise _problem(f'it stands for more than {_MAX_NODES} values', event)

    def _sequence(self, depth: int) -> list:
        values = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            values.append(self._value(event, depth + 1))
        return values

    def _mapping(self, depth: int) -> dict[str, Any]:
        mapping = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            found = self._value(event, depth + 1)
            if not isinstance(found, (str, int, float, type(None))):
                raise _problem(f'expected a scalar as a key, got {shown(found)}', event)
            key = str(found)
            if key == '<<':
                raise _problem(
                    "merge keys ('<<') are not part of YAML 1.2: write the keys out", event
                )
            if key in mapping:
                raise _problem(f'key {shown(found)} stands twice in one mapping', event)
            mapping[key] = self._value(self._next(), depth + 1)
        return mapping


def _tagged(tag: str, value: Any, event: yaml.Event) -> Any:
    """The value of a node with a tag; ``value`` is what it is without."""
    kind = tag.removeprefix(_YAML)
    if isinstance(value, str) and kind in _READ:
        found = _PLAIN.fullmatch(value)
        if found is None or found.lastgroup not in (kind, 'int' if kind == 'float' else kind):
            raise _problem(f'{shown(value)} is no {kind}', event)
        return _checked(_READ[kind], value, event)
    expected, construct = _TAGS.get(tag, (None, None))
    if construct is None or not isinstance(value, expected):
        raise _problem(f'tag {shown(tag)} is not known here', event)
    return _checked(construct, value, event)


def _checked(construct: Callable[[Any], Any], value: Any, event: yaml.Event) -> Any:
    """Turn whatever a malformed value raises into YAML's own error."""
    try:
        return construct(value)
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise _problem(f'{event.tag or "a number"} is malformed ({error})', event) from error


def _call(value: list | dict) -> tuple[list, Any]:
    """Arguments and state of a tag that stands for a call."""
    return (value, None) if isinstance(value, list) else (value.get('args'), value.get('state'))


def _dtype(value: list | dict) -> np.dtype:
    """``numpy.dtype``: a kind with its size, and the byte order as the second word of its state."""
    args, state = _call(value)
    dtype = np.dtype(str(args[0]))
    if dtype.kind not in 'biuf':
        raise ValueError(f'an array of numbers was expected, not of {shown(args[0])}')
    return dtype.newbyteorder(state[1]) if state else dtype


def _values(dtype: object, content: object) -> np.ndarray:
    if not isinstance(dtype, np.dtype) or not isinstance(content, bytes):
        raise TypeError('expected a dtype and bytes')
    return np.frombuffer(content, dtype)


def _array(value: list | dict) -> np.ndarray:
    """``_reconstruct``: all there is to an array is in its state."""
    _, (_, shape, dtype, fortran_order, content) = _call(value)
    if not all(type(size) is int for size in shape) or math.prod(shape) > _MAX_VALUES:
        raise ValueError(f'an array of shape {shown(shape)} does not belong here')
    return _values(dtype, content).reshape(shape, order='F' if fortran_order else 'C')


def _scalar(value: list | dict) -> float | int | bool:
    (dtype, content), _ = _call(value)
    return _values(dtype, content)[0].item()


def _integer(text: str) -> int:
    return int(_short(text), {'0o': 8, '0x': 16}.get(text[:2], 10))


def _float(text: str) -> float:
    # .inf and .nan
    return float(text.replace('.', '') if text[-1:] in 'fFnN' else _short(text))


def _short(text: str) -> str:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f'a number of {len(text)} digits')
    return text


def _problem(text: str, event: yaml.Event) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=event.start_mark)


# What plain scalars are read as, by the group of _PLAIN.
_READ: dict[str, Callable[[str], Any]] = {
    'null': lambda text: None,
    'bool': lambda text: text[0] in 'tT',
    'int': _integer,
    'float': _float,
}
_TAGS: dict[str, tuple[type | tuple, Callable[[Any], Any]]] = {
    f'{_YAML}str': (str, str),
    f'{_YAML}seq': (list, list),
    f'{_YAML}map': (dict, dict),
    f'{_YAML}binary': (str, lambda text: base64.decodebytes(text.encode('ascii'))),
    f'{_YAML}python/tuple': (list, list),
    f'{_YAML}python/name:numpy.ndarray': (str, lambda text: None),
    f'{_APPLY}numpy.dtype': ((list, dict), _dtype),
    **{f'{_APPLY}{core}._reconstruct': ((list, dict), _array) for core in _CORES},
    **{f'{_APPLY}{core}.scalar': ((list, dict), _scalar) for core in _CORES},
}
