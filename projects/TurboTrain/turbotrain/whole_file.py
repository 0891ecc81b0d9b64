"""Files that are written whole or not at all."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import UserError
from .workers import terminable

__all__ = ['refuse_second', 'whole_file', 'write_whole']


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file so that an error, a kill or a power cut leaves the old one or the new one.

    What is written goes to ``NAME.partial``, which is flushed to the disk and then renamed; an
    error, Ctrl-C or SIGTERM removes it.

    Raises:
        OSError: it could not be written; names the file, which is as it was.
        UserError: another process is writing it.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    partial = path.with_name(f'{path.name}.partial')
    try:
        with terminable(), open(partial, 'wb', opener=_keeping) as file:
            refuse_second(file.fileno(), partial)
            try:
                file.truncate()
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                with suppress(OSError):
                    partial.unlink()
                raise
    except OSError as error:
        if error.filename is None:
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


def _keeping(path: str, flags: int) -> int:
    """Open a file, and leave what another process may be writing into it."""
    return os.open(path, flags & ~os.O_TRUNC, 0o666)


def refuse_second(file: int, partial: Path) -> None:
    """Hold an open file or folder; the kernel lets go of it with the process.

    Raises:
        UserError: another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        own = os.path.samestat(os.fstat(file), os.stat(partial))  # not yet renamed by the other
    except FileNotFoundError:
        own = False
    except OSError as error:
        own = error.errno != errno.EWOULDBLOCK  # some storages have no locks
    if not own:
        raise UserError(
            f'{partial}: another process is writing it; wait for its end, or name another output'
        )
