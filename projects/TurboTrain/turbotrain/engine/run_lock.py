"""One run at a time in a work directory."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError

__all__ = ['only_run_in']

_LOCK = '.lock'


@contextmanager
def only_run_in(work_dir: str | Path) -> Iterator[None]:
    """Hold a work directory, which is made if need be; the kernel lets go of it with the process.

    Where the storage has no locks, nothing is held.

    Raises:
        UserError: another process holds it.
        OSError: nothing can be written there.
    """
    path = Path(work_dir) / _LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a+') as file:
        try:
            # A lock of the process, not of the open file, which data workers would go on holding.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                holder = file.read(200).strip() or 'which has just begun'
                raise UserError(
                    f'{work_dir}: another run ({holder}) writes there; wait for its end, or name '
                    'another folder by --work-dir'
                ) from None
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}, since {time.ctime()}\n')
        file.flush()
        yield
