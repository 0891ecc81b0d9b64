"""A YAML loader that runs nothing, for files some of which were dumped with NumPy arrays in them.

Plain scalars are read by the core schema of YAML 1.2, in which ``000022`` is 22 and ``1:30``,
``1_000`` and ``yes`` are text; PyYAML's own, of YAML 1.1, makes numbers and truth values of all of
them. A key that a mapping repeats is an error, where PyYAML would keep the last.

A file that nests without end, or that stands for far more than it holds, is refused before it is
built.

V2V4Real's poses carry Python tags that only an unsafe loader would accept. They describe an array
in a few fixed words; those words are read here as data, and every other Python tag is refused.
"""

import math
import re
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import yaml

from .errors import shown

__all__ = ['SafeArrayLoader', 'load_yaml']

_Base = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
_PYTHON = 'tag:yaml.org,2002:python/'
_APPLY = _PYTHON + 'object/apply:'
_CORES = ('numpy.core.multiarray', 'numpy._core.multiarray')
_MAX_VALUES = 1_000_000
_MAX_BYTES = 2**25
_MAX_NODES = 200_000  # that aliases may stand for; annotations have some thousands
_MAX_DEPTH = 64  # the parser in C would run out of stack at some ten thousands
_MAX_DIGITS = 1000  # reading a number takes time that grows faster than its length
_DEEP = re.compile(
    rb'^ {%d}|(?:[-?:][ \t]+(?:[!&]\S*[ \t]+)*){%d}' % (_MAX_DEPTH, _MAX_DEPTH), re.MULTILINE
)


class SafeArrayLoader(_Base):
    """PyYAML's safe loader with YAML 1.2's core schema, unique keys, and NumPy arrays."""

    # Empty, not PyYAML's; what each plain scalar is tried for is added below.
    yaml_implicit_resolvers: ClassVar[dict] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Build a mapping of unique keys, without YAML 1.1's merge keys."""
        mapping = yaml.constructor.BaseConstructor.construct_mapping(self, node, deep=deep)
        if '<<' in mapping:
            raise _problem("merge keys ('<<') are not part of YAML 1.2: write the keys out", node)
        if len(mapping) < len(node.value):
            seen = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if key in seen:
                    raise _problem(f'key {shown(key)} stands twice in one mapping', key_node)
                seen.add(key)
        return mapping


for _kind, _first, _pattern in (
    ('null', ['', *'~nN'], r'~|null|Null|NULL|'),
    ('bool', [*'tTfF'], r'true|True|TRUE|false|False|FALSE'),
    ('int', [*'-+0123456789'], r'[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+'),
    (
        'float',
        [*'-+.0123456789'],
        r'[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?'
        r'|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)',
    ),
):
    SafeArrayLoader.add_implicit_resolver(
        f'tag:yaml.org,2002:{_kind}', re.compile(rf'(?:{_pattern})\Z'), _first
    )


def load_yaml(text: bytes) -> Any:
    """Read one YAML document.

    Raises:
        YAMLError: it is none, repeats a key, has tags of Python other than NumPy's arrays, nests
            too deep, or its aliases stand for too much. What PyYAML raises for damaged scalars
            passes too.
    """
    if len(text) > _MAX_BYTES:
        raise yaml.YAMLError(f'{len(text)} bytes are more than {_MAX_BYTES}')
    if _DEEP.search(text) or _flow_depth(text) > _MAX_DEPTH:
        raise yaml.YAMLError(f'it is nested deeper than {_MAX_DEPTH} levels')
    loader = SafeArrayLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if b'*' in text:
            _expanded_size(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _flow_depth(text: bytes) -> int:
    """How deep brackets are nested, at most."""
    found = np.frombuffer(text, dtype=np.uint8)
    step = np.zeros(256, dtype=np.int8)
    step[list(b'[{')], step[list(b']}')] = 1, -1
    return int(np.cumsum(step[found], dtype=np.int64).max(initial=0))


def _expanded_size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """How many nodes there are when every alias is written out."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise yaml.YAMLError('an alias stands for something that holds it')
        return size
    known[id(node)] = None
    size = 1
    if isinstance(node, yaml.CollectionNode):
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                size += _expanded_size(part, known)
                if size > _MAX_NODES:
                    raise yaml.YAMLError(f'its aliases stand for more than {_MAX_NODES} nodes')
    known[id(node)] = size
    return size


def _sequence(loader: yaml.SafeLoader, node: yaml.Node) -> list:
    return loader.construct_sequence(node, deep=True)


def _call(loader: yaml.SafeLoader, node: yaml.Node) -> tuple[list, Any]:
    """Arguments and state of a tag that stands for a call."""
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True), None
    call = loader.construct_mapping(node, deep=True)
    return call.get('args', []), call.get('state')


def _dtype(loader: yaml.SafeLoader, node: yaml.Node) -> np.dtype:
    """``numpy.dtype``: a kind with its size, and the byte order as the second word of its state."""
    args, state = _call(loader, node)
    dtype = np.dtype(str(args[0]))
    if dtype.kind not in 'biuf':
        raise ValueError(f'an array of numbers was expected, not of {args[0]!r}')
    return dtype.newbyteorder(state[1]) if state else dtype


def _array(loader: yaml.SafeLoader, node: yaml.Node) -> np.ndarray:
    """``_reconstruct``: all there is to an array is in its state."""
    _, (_, shape, dtype, fortran_order, content) = _call(loader, node)
    if math.prod(shape) > _MAX_VALUES:
        raise ValueError(f'an array of shape {tuple(shape)} does not belong here')
    values = np.frombuffer(content, dtype)
    return values.reshape(shape, order='F' if fortran_order else 'C')


def _scalar(loader: yaml.SafeLoader, node: yaml.Node) -> float | int | bool:
    (dtype, content), _ = _call(loader, node)
    return np.frombuffer(content, dtype)[0].item()


def _checked(construct: Any) -> Any:
    """Turn whatever a malformed array raises into YAML's own error."""

    def constructor(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
        try:
            return construct(loader, node)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise _problem(f'{node.tag} does not describe an array ({error})', node) from error

    return constructor


def _number(read: Callable[[str], float]) -> Any:
    """Read a number, and refuse one of absurd length."""

    def constructor(loader: yaml.SafeLoader, node: yaml.Node) -> float:
        text = loader.construct_scalar(node)
        if len(text) > _MAX_DIGITS:
            raise _problem(f'a number of {len(text)} digits', node)
        return read(text)

    return constructor


def _integer(text: str) -> int:
    return int(text, {'0o': 8, '0x': 16}.get(text[:2], 10))


def _float(text: str) -> float:
    return float(text.replace('.', '') if text[-1:] in 'fFnN' else text)  # .inf and .nan


def _problem(text: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


SafeArrayLoader.add_constructor('tag:yaml.org,2002:int', _number(_integer))
SafeArrayLoader.add_constructor('tag:yaml.org,2002:float', _number(_float))
for _core in _CORES:
    SafeArrayLoader.add_constructor(f'{_APPLY}{_core}._reconstruct', _checked(_array))
    SafeArrayLoader.add_constructor(f'{_APPLY}{_core}.scalar', _checked(_scalar))
SafeArrayLoader.add_constructor(f'{_APPLY}numpy.dtype', _checked(_dtype))
SafeArrayLoader.add_constructor(f'{_PYTHON}tuple', _checked(_sequence))
SafeArrayLoader.add_constructor(f'{_PYTHON}name:numpy.ndarray', lambda loader, node: None)
