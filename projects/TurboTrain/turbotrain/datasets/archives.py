"""``.npz`` files that say what they are: flat arrays, no pickle, a format and a version."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .readers import DataFileError, read_bytes

__all__ = ['read_archive', 'write_archive']


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
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            header = json.loads(str(file['header']))
            arrays = {key: file[key] for key in keys if key in file}
    except Exception as error:  # a damaged archive can raise nearly anything
        raise DataFileError(path, f'cannot be read ({error}); {remedy}') from error
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
