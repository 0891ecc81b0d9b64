"""A YAML loader that runs nothing, for files some of which were dumped with NumPy arrays in them.

A file that nests without end, or that stands for far more than it holds, is refused before it is
built.

V2V4Real's poses carry Python tags that only an unsafe loader would accept. They describe an array
in a few fixed words; those words are read here as data, and every other Python tag is refused.
"""

import math
import re
from typing import Any

import numpy as np
import yaml

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
    """PyYAML's safe loader, with floats such as ``1e-05`` read as floats, and NumPy arrays."""


SafeArrayLoader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(r'^[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)([eE][-+]?\d+)$|^[-+]?\d[\d_]*\.[\d_]*$'),
    list('-+0123456789.'),
)


def load_yaml(text: bytes) -> Any:
    """Read one YAML document.

    Raises:
        YAMLError: it is none, has tags of Python other than NumPy's arrays, nests too deep, or its
            aliases stand for too much. What PyYAML raises for damaged scalars passes too.
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
            raise yaml.constructor.ConstructorError(
                None, None, f'{node.tag} does not describe an array ({error})', node.start_mark
            ) from error

    return constructor


def _short(construct: Any) -> Any:
    """Refuse numbers of absurd length."""

    def constructor(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
        if len(node.value) > _MAX_DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, f'a number of {len(node.value)} digits', node.start_mark
            )
        return construct(loader, node)

    return constructor


for _kind in ('int', 'float'):
    _construct = getattr(_Base, f'construct_yaml_{_kind}')
    SafeArrayLoader.add_constructor(f'tag:yaml.org,2002:{_kind}', _short(_construct))
for _core in _CORES:
    SafeArrayLoader.add_constructor(f'{_APPLY}{_core}._reconstruct', _checked(_array))
    SafeArrayLoader.add_constructor(f'{_APPLY}{_core}.scalar', _checked(_scalar))
SafeArrayLoader.add_constructor(f'{_APPLY}numpy.dtype', _checked(_dtype))
SafeArrayLoader.add_constructor(f'{_PYTHON}tuple', _checked(_sequence))
SafeArrayLoader.add_constructor(f'{_PYTHON}name:numpy.ndarray', lambda loader, node: None)
