"""An unpickler that knows a few words and can build nothing but plain values and what they name.

Python's pickle is a program that its reader runs. Of its instructions only those are known here
that a file of data needs; the rest, and every global but the named ones, is refused. NumPy's arrays
are described in a fixed way, which is read as data: NumPy itself never sees a pickle's state.

Time and memory are in proportion to the bytes: what is stored once and named often is unpacked
once, and mappings are too small for their keys to collide often.
"""

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, BinaryIO

import numpy as np

from .errors import shown

__all__ = [
    'ARRAY_GLOBALS',
    'PickledArray',
    'RestrictedUnpickler',
    'load_restricted',
    'ordered',
]

_MAX_KEYS = 10_000  # of a mapping
_MAX_KEY = 2**61 - 1  # whole numbers below it have hashes of their own

_INSTRUCTIONS = """
    PROTO FRAME STOP MARK POP POP_MARK DUP GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE
    NONE NEWTRUE NEWFALSE INT LONG FLOAT BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8
    EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS EMPTY_TUPLE TUPLE TUPLE1
    TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD
"""


class PickledArray:
    """What a pickle says of an array; ``values`` is the array itself, None if it says nothing."""

    values: np.ndarray | None = None

    def __init__(self, subtype: object, shape: object, kind: object) -> None:
        """The arguments are the same for any array: what it holds is in its state."""

    def set_state(self, state: tuple) -> None:
        """Make the array of (version, shape, dtype, whether in Fortran's order, bytes)."""
        _, shape, dtype, fortran, content = state
        if not isinstance(content, bytes) or not isinstance(dtype, _DType):
            raise pickle.UnpicklingError('an array of numbers or text was expected')
        whole = len(shape) <= 8 and all(type(size) is int and size >= 0 for size in shape)
        if not whole or math.prod(shape) * dtype.value.itemsize != len(content):
            raise pickle.UnpicklingError(f'an array {shown(shape)} in {len(content)} bytes')
        values = np.frombuffer(content, dtype.value) if content else np.zeros(0, dtype.value)
        self.values = values.reshape(shape, order='F' if fortran else 'C')


class _DType:
    """``numpy.dtype`` of numbers or text; its state says nothing more than the byte order."""

    def __init__(self, name: object, align: object = 0, copy: object = 1) -> None:
        self.value = np.dtype(str(name))
        if self.value.kind not in 'biufUS' or not 0 < self.value.itemsize <= 1024:
            raise pickle.UnpicklingError(f'expected an array of numbers or text, not {shown(name)}')

    def set_state(self, state: tuple) -> None:
        if state[1] in ('<', '>'):
            self.value = self.value.newbyteorder(state[1])


def _scalar(dtype: _DType, content: bytes) -> Any:
    if len(content) != dtype.value.itemsize:
        raise pickle.UnpicklingError(f'a scalar in {len(content)} bytes')
    return np.frombuffer(content, dtype.value)[0].item()


class _Memo(list):
    """What a pickle has numbered, in order: a mapping would take the numbers of its choice."""

    def __setitem__(self, number: int, value: Any) -> None:
        if number == len(self):
            self.append(value)
        else:
            super().__setitem__(number, value)


ARRAY_GLOBALS: Mapping[tuple[str, str], Callable] = {
    (module, name): value
    for package in ('numpy.core', 'numpy._core')
    for module, name, value in (
        (f'{package}.multiarray', '_reconstruct', PickledArray),
        (f'{package}.multiarray', 'scalar', _scalar),
        ('numpy', 'ndarray', object),
        ('numpy', 'dtype', _DType),
    )
}


# The one in C cannot be told which instructions it may know, and takes memory as a file says.
class RestrictedUnpickler(pickle._Unpickler):
    """Reads one pickle of a file.

    Args:
        file: the file, at the pickle's begin.
        allowed: see :func:`load_restricted`.
    """

    dispatch = {
        code: pickle._Unpickler.dispatch[code]
        for code in (getattr(pickle, name)[0] for name in _INSTRUCTIONS.split())
    }

    def __init__(self, file: BinaryIO, allowed: Mapping[tuple[str, str], Callable]) -> None:
        super().__init__(file)
        self.memo = _Memo()
        self._allowed = allowed
        self._encoded: dict[str, bytes] = {}

    def find_class(self, module: str, name: str) -> Callable:
        """What stands for a global, if it is allowed."""
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f'{module}.{name} is not allowed in this file') from None

    def load_newobj(self) -> None:
        """Make an empty object of a dataclass."""
        args, cls = self.stack.pop(), self.stack.pop()
        if args != () or not (isinstance(cls, type) and is_dataclass(cls)):
            raise pickle.UnpicklingError('an object of this kind is not allowed in this file')
        self.append(object.__new__(cls))

    def load_build(self) -> None:
        """Fill an object in; a class, and attributes that it does not have, stay as they are."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, PickledArray):
            *what, content = state
            if isinstance(content, str):  # Python 2's
                if content not in self._encoded:
                    self._encoded[content] = content.encode('latin1')
                content = self._encoded[content]
            target.set_state((*what, content))
        elif isinstance(target, _DType):
            target.set_state(state)
        elif is_dataclass(type(target)) and isinstance(state, dict):
            known = {field.name for field in fields(type(target))}
            vars(target).update({key: state[key] for key in known & state.keys()})
        else:
            raise pickle.UnpicklingError('the state of an object that may not have one')

    def load_dict(self) -> None:
        """Make a mapping."""
        items = self.pop_mark()
        self.append(_fill({}, zip(items[::2], items[1::2], strict=True)))

    def load_setitem(self) -> None:
        """Add an item to a mapping."""
        value, key = self.stack.pop(), self.stack.pop()
        _fill(self.stack[-1], [(key, value)])

    def load_setitems(self) -> None:
        """Add items to a mapping."""
        items = self.pop_mark()
        _fill(self.stack[-1], zip(items[::2], items[1::2], strict=True))

    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems


def _fill(mapping: dict, items: Iterable[tuple[Any, Any]]) -> dict:
    """Add items to a mapping.

    Raises:
        UnpicklingError: it is none, gets too long, or a key may collide with others.
    """
    if not isinstance(mapping, dict):
        raise pickle.UnpicklingError('items of something that is no mapping')
    for key, value in items:
        if not isinstance(key, (str, bytes)) and not (type(key) is int and abs(key) < _MAX_KEY):
            raise pickle.UnpicklingError(f'expected a name or a number as a key, got {shown(key)}')
        mapping[key] = value
        if len(mapping) > _MAX_KEYS:
            raise pickle.UnpicklingError(f'a mapping of more than {_MAX_KEYS} keys')
    return mapping


def ordered(items: Iterable[tuple[Any, Any]] = ()) -> OrderedDict:
    """``collections.OrderedDict`` as it is pickled; Python 2 gives it all its items."""
    return _fill(OrderedDict(), items)


def load_restricted(content: bytes, allowed: Mapping[tuple[str, str], Callable]) -> Any:
    """Unpickle.

    Args:
        content: the pickle.
        allowed: (module, name) -> what stands for it: dataclasses, or functions that do no harm
            whatever they are called with.

    Raises:
        UnpicklingError: it wants more than is allowed, or is damaged.
    """
    try:
        return RestrictedUnpickler(io.BytesIO(content), allowed).load()
    except pickle.UnpicklingError:
        raise
    except KeyError as error:
        (key,) = error.args or (None,)
        raise pickle.UnpicklingError(f'instruction {key!r:.20} is not allowed in it') from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise pickle.UnpicklingError(f'{type(error).__name__}: {error}'[:200]) from None
