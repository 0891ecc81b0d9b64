"""Checkpoint files: written whole or not at all, read without running anything they hold.

Importing this module makes mmengine load local checkpoints by :func:`read_checkpoint`, and gives it
the storage backend ``durable``.
"""

import os
import pickle
import re
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import CheckpointLoader

from .errors import CheckpointError

__all__ = ['DurableBackend', 'newest_checkpoint', 'read_checkpoint', 'write_durably']

# For what mmengine loads by itself (from URLs): torch's own default since 2.6; before, it would
# run whatever a checkpoint holds.
os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'

_RESUMABLE = re.compile(r'(epoch|iter)_\d+\.pth')
_REFUSED = re.compile(r'GLOBAL (\S+)|global (\S+)|(?:type|class|function) (\S+)')


def write_durably(path: str | Path, content: bytes) -> None:
    """Write a file so that a kill, a full disk or a power cut leaves the old one or the new one.

    Raises:
        OSError: it could not be written; a file of that name is as it was.
    """
    path = Path(path)
    partial = path.with_name(f'{path.name}.partial')
    try:
        with partial.open('wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise
    # The new name is on the disk once its folder is; some storages cannot promise that.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class DurableBackend(LocalBackend):
    """mmengine's local disk, but files are replaced once the new one is whole."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        write_durably(filepath, obj)


def read_checkpoint(filename: str, map_location: Any = 'cpu') -> dict:
    """Read a local checkpoint of tensors and plain values.

    The file's check sums are looked at first: torch itself takes a flipped bit for a weight.

    Args:
        filename: the file.
        map_location: where tensors go, as of ``torch.load``.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged, no checkpoint, or holds objects of other kinds, which could
            run code.
    """
    path = os.path.expanduser(filename)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'{filename}: there is no such checkpoint')
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _refuse_bomb(path, archive)
                damaged = archive.testzip()
            if damaged is not None:
                raise CheckpointError(path, f'is damaged: wrong check sum of its part {damaged!r}')
        content = torch.load(path, map_location=map_location, weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(path, _refusal(str(error))) from None
    except Exception as error:  # a damaged file can raise nearly anything
        raise CheckpointError(path, f'is damaged or no checkpoint ({_first(error)})') from None
    if not isinstance(content, dict):
        raise CheckpointError(
            path, f'expected a dictionary with weights, got a {type(content).__name__}'
        )
    return content


def _refuse_bomb(path: str, archive: zipfile.ZipFile) -> None:
    """``torch.save`` stores its parts as they are: what is packed could unpack to any size."""
    for part in archive.infolist():
        if part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size:
            raise CheckpointError(
                path, f'part {part.filename!r} is compressed; expected a file of torch.save'
            )


def _refusal(message: str) -> str:
    # torch's own words go on to recommend a load that runs code.
    named = _REFUSED.search(message)
    what = next(filter(None, named.groups())).rstrip('.,') if named else 'another object'
    return (
        f'holds more than tensors and plain values ({what}); it could run code and is not '
        'loaded. Checkpoints of this project hold none; of others, keep the weights alone'
    )


def _first(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'.splitlines()[0][:200]


# Its name is what mmengine logs.
@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any) -> dict:
    """What mmengine calls for a path without a scheme."""
    return read_checkpoint(filename, map_location)


register_backend('durable', DurableBackend, force=True)


def newest_checkpoint(work_dir: str | Path) -> str | None:
    """The newest checkpoint of a run that is whole; warns of each damaged one that it passes over.

    ``last_checkpoint`` is not needed: it may be older than the newest file, or gone.

    Raises:
        CheckpointError: there are checkpoints, and none of them is whole.
    """
    found = [p for p in Path(work_dir).glob('*.pth') if _RESUMABLE.fullmatch(p.name)]
    found.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    for path in found:
        try:
            content = read_checkpoint(str(path))
            missing = {'meta', 'state_dict', 'optimizer', 'message_hub'} - content.keys()
            if missing:
                raise CheckpointError(str(path), f'cannot be resumed: {sorted(missing)} missing')
        except CheckpointError as error:
            warnings.warn(f'{error}; going back to the checkpoint before it', stacklevel=2)
        else:
            return str(path)
    if found:
        raise CheckpointError(str(work_dir), f'none of its {len(found)} checkpoints is whole')
    return None
