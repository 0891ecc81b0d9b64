"""A YAML loader that runs nothing, for files some of which were dumped with NumPy arrays in them.

V2V4Real's poses carry Python tags that only an unsafe loader would accept. They describe an array
in a few fixed words; those words are read here as data, and every other Python tag is refused.
"""

import math
import re
from typing import Any

import numpy as np
import yaml

__all__ = ['SafeArrayLoader']

_Base = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
_PYTHON = 'tag:yaml.org,2002:python/'
_APPLY = _PYTHON + 'object/apply:'
_CORES = ('numpy.core.multiarray', 'numpy._core.multiarray')
_MAX_VALUES = 1_000_000


class SafeArrayLoader(_Base):
    """PyYAML's safe loader, with floats such as ``1e-05`` read as floats, and NumPy arrays."""


SafeArrayLoader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(r'^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)$|^[-+]?\d[\d_]*\.[\d_]*$'),
    list('-+0123456789.'),
)


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


for _core in _CORES:
    SafeArrayLoader.add_constructor(f'{_APPLY}{_core}._reconstruct', _checked(_array))
    SafeArrayLoader.add_constructor(f'{_APPLY}{_core}.scalar', _checked(_scalar))
SafeArrayLoader.add_constructor(f'{_APPLY}numpy.dtype', _checked(_dtype))
SafeArrayLoader.add_constructor(f'{_PYTHON}tuple', _checked(_sequence))
SafeArrayLoader.add_constructor(f'{_PYTHON}name:numpy.ndarray', lambda loader, node: None)
