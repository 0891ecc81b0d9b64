"""``.npz`` files that say what they are: flat arrays, no pickle, a format and a version."""

import io
import json
import math
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from ..whole_file import whole_file
from .readers import DataFileError, read_bytes, said, shown

__all__ = ['Column', 'check_columns', 'check_runs', 'read_archive', 'write_archive']

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Column:
    """What an array of an archive has to be.

    Attributes:
        dtype: its type, ``str`` for text of any width.
        shape: its sizes; a name stands for one that all columns share, ``'name+1'`` for one more.
        low: the least value that numbers may have; NaN is refused.
        high: the greatest one.
        default: what it holds in every place where an archive goes without it; None of one that has
            to be there.
    """

    dtype: type
    shape: tuple[int | str, ...]
    low: float = -math.inf
    high: float = math.inf
    default: np.generic | bool | str | None = None

    def problem(self, values: np.ndarray, sizes: dict[str, int]) -> str | None:
        """What is wrong with an array; ``sizes`` has, and gets, what the names stand for."""
        if values.ndim != len(self.shape):
            return f'expected an array of {len(self.shape)} dimensions, got {values.ndim}'
        shape = []
        for size, found in zip(self.shape, values.shape, strict=True):
            name, _, more = str(size).partition('+')
            known = size if isinstance(size, int) else sizes.setdefault(name, found - bool(more))
            shape.append(known + bool(more))
        if values.shape != tuple(shape):
            return f'expected shape {tuple(shape)}, got {values.shape}'
        if self.dtype is str:
            if values.dtype.kind != 'U' or not values.dtype.itemsize:
                return f'expected text, got {values.dtype}'
            letters = np.frombuffer(values.tobytes(), np.uint32)
            if ((letters >= 0x110000) | (letters >> 11 == 0xD800 >> 11)).any():
                return 'expected text, got numbers that are no letters'
        elif values.dtype != self.dtype:
            return f'expected {np.dtype(self.dtype)}, got {values.dtype}'
        elif not ((values >= self.low) & (values <= self.high)).all():
            return f'expected numbers from {self.low:g} to {self.high:g}'
        return None


def check_runs(begin: np.ndarray, end: int) -> str | None:
    """What is wrong with the begins of consecutive runs of ``end`` items in all, (runs + 1,)."""
    if begin[0] != 0 or begin[-1] != end:
        return f'expected 0 first and {end} last'
    return None if (begin[1:] >= begin[:-1]).all() else 'expected an ascending order'


def check_columns(
    path: str, schema: Mapping[str, Column], arrays: Mapping[str, np.ndarray], remedy: str
) -> None:
    """Hold arrays against a schema.

    Raises:
        DataFileError: one of them is not as it says.
    """
    sizes: dict[str, int] = {}
    for key, column in schema.items():
        problem = column.problem(arrays[key], sizes)
        if problem is not None:
            raise DataFileError(path, f'key {key!r}: {problem}; {remedy}')


def write_archive(path: str, kind: str, version: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays; a file of that name is replaced only once the new one is whole."""
    header = np.array(json.dumps(dict(format=kind, version=version)))
    with whole_file(path) as file:
        np.savez(file, header=header, **arrays)


def read_archive(
    path: str,
    kind: str,
    version: int,
    keys: Collection[str],
    remedy: str,
    backend_args: dict | None = None,
    optional: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Read the arrays of some names.

    Args:
        path: the file.
        kind: the format it must have.
        version: the version it must have.
        keys: names of the arrays.
        remedy: how to make the file anew, for error messages.
        backend_args: where mmengine's fileio finds it; local disk by default.
        optional: those of the names that it may lack.

    Raises:
        DataFileError: the file is missing, damaged, of another format or version, or lacks an
            array.
    """
    try:
        content = read_bytes(path, backend_args)
    except DataFileError as error:
        raise type(error)(path, f'{error.problem}; {remedy}') from error
    try:
        found = _arrays(content, {'header', *keys})
        header = json.loads(str(found['header']))
        arrays = {key: found[key] for key in keys if key in found}
    except Exception as error:  # a damaged archive can raise nearly anything
        raise DataFileError(path, f'cannot be read ({said(error)}); {remedy}') from error
    for key, expected in (('format', kind), ('version', version)):
        if not isinstance(header, dict) or header.get(key) != expected:
            found = header.get(key) if isinstance(header, dict) else header
            raise DataFileError(
                path, f'key {key!r}: expected {expected!r}, got {shown(found)}; {remedy}'
            )
    for key in keys:
        if key not in arrays and key not in optional:
            raise DataFileError(path, f'key {key!r} is missing; {remedy}')
    return arrays


def _arrays(content: memoryview, keys: set[str]) -> dict[str, np.ndarray]:
    """The arrays of some names, none larger than the bytes that are there.

    ``np.load`` would unpack what is packed, and take the memory that an array's header asks for.
    """
    found, room = {}, len(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for part in archive.infolist():
            key = part.filename.removesuffix('.npy')
            if key not in keys:
                continue
            if key in found:
                raise ValueError(f'key {key!r}: is there twice')
            room -= part.file_size  # parts may lie on each other
            if part.compress_type != zipfile.ZIP_STORED or room < 0:
                raise ValueError(f'key {key!r}: is compressed; expected it as it was written')
            data = io.BytesIO(archive.read(part))  # checks its sum
            shape, _, dtype = _HEADERS[np.lib.format.read_magic(data)](data)
            size = part.file_size - data.tell()
            if dtype.hasobject or math.prod(shape) * dtype.itemsize != size:
                raise ValueError(f'key {key!r}: {shape} of {dtype} are not {size} bytes')
            data.seek(0)
            found[key] = np.lib.format.read_array(data, allow_pickle=False)
    return found
