"""Which file a process read last, for the others to see when it is dead."""

import mmap
import os
import struct

__all__ = ['last_read', 'note_reading']

_SLOTS, _SIZE = 1024, 512  # half a megabyte, of which each process touches one page
_HEAD = struct.Struct('<II')  # process id, length of the path
# Data workers are forked: they and this process see the same memory.
_SHARED = mmap.mmap(-1, _SLOTS * _SIZE)


def note_reading(path: str) -> None:
    """Write down that this process begins to read a file."""
    name = str(path).encode('utf-8', 'replace')[-(_SIZE - _HEAD.size) :]
    place = os.getpid() % _SLOTS * _SIZE
    _SHARED[place : place + _HEAD.size + len(name)] = _HEAD.pack(os.getpid(), len(name)) + name


def last_read(pid: int) -> str | None:
    """The file that a process of this run began to read last.

    Returns:
        Its path, cut at the front if it is long; None if there is none, or if data workers are not
        forked (on systems without fork).
    """
    place = pid % _SLOTS * _SIZE
    owner, length = _HEAD.unpack_from(_SHARED, place)
    if owner != pid:
        return None
    place += _HEAD.size
    return _SHARED[place : place + length].decode('utf-8', 'replace')
