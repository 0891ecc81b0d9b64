"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ['whole_file', 'write_whole']


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file so that an error, a kill or a power cut leaves the old one or the new one.

    What is written goes to ``NAME.partial``, which is flushed to the disk and then renamed; an
    error removes it.

    Raises:
        OSError: it could not be written; names the file, which is as it was.
    """
    path = Path(path)
    partial = path.with_name(f'{path.name}.partial')
    try:
        with partial.open('wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:  # Ctrl-C as well
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk is felt in writing, which names no file
        raise
    # The new name is on the disk once its folder is; some storages cannot promise that.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a whole file; text as UTF-8.

    Raises:
        OSError: it could not be written; a file of that name is as it was.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
