"""``.npz`` files that say what they are: flat arrays, no pickle, a format and a version."""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .readers import DataFileError, read_bytes, said

__all__ = ['read_archive', 'write_archive']

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def write_archive(path: str, kind: str, version: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays; a file of that name is replaced only once the new one is whole."""
    header = np.array(json.dumps(dict(format=kind, version=version)))
    temporary = Path(f'{path}.partial')
    with temporary.open('wb') as file:
        np.savez(file, header=header, **arrays)
    temporary.replace(path)


def read_archive(
    path: str,
    kind: str,
    version: int,
    keys: list[str],
    remedy: str,
    backend_args: dict | None = None,
) -> dict[str, np.ndarray]:
    """Read the arrays of some names.

    Args:
        path: the file.
        kind: the format it must have.
        version: the version it must have.
        keys: names of the arrays.
        remedy: how to make the file anew, for error messages.
        backend_args: where mmengine's fileio finds it; local disk by default.

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
                path, f'key {key!r}: expected {expected!r}, got {found!r}; {remedy}'
            )
    for key in keys:
        if key not in arrays:
            raise DataFileError(path, f'key {key!r} is missing; {remedy}')
    return arrays


def _arrays(content: memoryview, keys: set[str]) -> dict[str, np.ndarray]:
    """The arrays of some names, none larger than the bytes that are there.

    ``np.load`` would unpack what is packed, and take the memory that an array's header asks for.
    """
    found = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for part in archive.infolist():
            key = part.filename.removesuffix('.npy')
            if key not in keys:
                continue
            if key in found:
                raise ValueError(f'key {key!r}: is there twice')
            if part.compress_type != zipfile.ZIP_STORED or part.file_size > len(content):
                raise ValueError(f'key {key!r}: is compressed; expected it as it was written')
            data = io.BytesIO(archive.read(part))  # checks its sum
            shape, _, dtype = _HEADERS[np.lib.format.read_magic(data)](data)
            size = part.file_size - data.tell()
            if dtype.hasobject or math.prod(shape) * dtype.itemsize != size:
                raise ValueError(f'key {key!r}: {shape} of {dtype} are not {size} bytes')
            data.seek(0)
            found[key] = np.lib.format.read_array(data, allow_pickle=False)
    return found
