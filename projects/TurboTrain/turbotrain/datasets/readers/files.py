"""Bytes and folders from wherever a dataset is stored."""

import os
from typing import NamedTuple

import numpy as np
from mmengine.fileio import get, get_file_backend

from .errors import DataFileError, MissingFileError
from .last_read import note_reading

__all__ = ['Folder', 'list_folder', 'read_bytes']


def read_bytes(path: str, backend_args: dict | None = None) -> memoryview:
    """Read a whole file, into memory that may be written to.

    Args:
        path: the file.
        backend_args: where mmengine's fileio finds it (LMDB, HTTP, petrel, ...); local disk by
            default.

    Raises:
        MissingFileError: there is no such file.
        DataFileError: it cannot be read.
    """
    note_reading(path)
    try:
        if backend_args is None:
            # Not a bytearray, which would be filled with zeros first.
            return memoryview(np.fromfile(path, dtype=np.uint8))
        content = get(path, backend_args=backend_args)
    except Exception as error:  # every storage has its own kinds
        if isinstance(error, FileNotFoundError) or getattr(error, 'code', None) == 404:
            raise MissingFileError(path, 'is missing') from None
        reason = getattr(error, 'strerror', None) or error
        raise DataFileError(path, f'cannot be read ({reason})') from error
    if content is None:  # LMDB's answer to an unknown key
        raise MissingFileError(path, 'is not in the store that backend_args names')
    return memoryview(bytearray(content))


class Folder(NamedTuple):
    """Names of the folders and of the files in a folder, sorted; hidden ones left out."""

    folders: list[str]
    files: list[str]


def list_folder(path: str, backend_args: dict | None = None) -> Folder:
    """List a folder.

    Raises:
        DataFileError: it is missing, is no folder, or the storage cannot list.
    """
    try:
        if backend_args is None:
            with os.scandir(path) as entries:
                found = [(entry.name, entry.is_dir()) for entry in entries]
        else:
            backend = get_file_backend(path, backend_args=backend_args, enable_singleton=True)
            folders = set(backend.list_dir_or_file(path, list_file=False))
            found = [(name, name in folders) for name in backend.list_dir_or_file(path)]
    except OSError as error:
        raise DataFileError(path, f'is not a folder ({error.strerror or error})') from error
    except (AttributeError, NotImplementedError):
        raise DataFileError(
            path,
            'cannot be listed: this storage has no folders. Make info files where the annotations '
            'lie on a disk; datasets then read infos and clouds from any storage',
        ) from None
    found = sorted(entry for entry in found if not entry[0].startswith('.'))
    return Folder([n for n, is_dir in found if is_dir], [n for n, is_dir in found if not is_dir])
