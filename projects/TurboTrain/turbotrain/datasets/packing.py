"""Packs a dataset into one LMDB, for disks that are slow with many small files."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from ..whole_file import refuse_second
from ..workers import terminable
from .info_file import load_infos, making_of
from .readers import DataFileError, read_bytes

__all__ = ['pack_dataset']

_BATCH = 512  # files to a transaction
_DATA = 'data.mdb'
_FILES = {_DATA, 'lock.mdb'}  # of a store
_MAX_KEY = 511  # bytes, LMDB's own limit


def pack_dataset(
    data_root: str, out: str, progress: Callable[..., Iterable[str]] | None = None
) -> int:
    """Write info files, the clouds they name, vector maps and object databases into an LMDB.

    Keys are the files' paths relative to the data root. The store gets its name only once it is
    whole; a former one of that name is replaced.

    Args:
        data_root: root of the dataset, with its info files.
        out: folder of the store.
        progress: wraps the iterator over files, e.g. ``tqdm``; called with ``total``.

    Returns:
        The number of files in the store.

    Raises:
        DataFileError: there is no info file, a file that one names is missing, ``out`` holds
            something else than a store, or it cannot be written.
        UserError: another process is packing into it.
    """
    names = _files_of(Path(data_root))
    size = sum(_size(os.path.join(data_root, name)) for name in names)
    out = os.path.realpath(out)  # where a link leads, and without a slash or dots at the end
    known = not os.path.exists(out) or os.path.isdir(out) and set(os.listdir(out)) <= _FILES
    if not known:
        raise DataFileError(out, 'is there already and is no LMDB; name another folder')
    partial = Path(f'{out}.partial')
    partial.mkdir(parents=True, exist_ok=True)
    lock = os.open(partial, os.O_RDONLY)
    try:
        refuse_second(lock, partial)
        with terminable(), _removed_on_error(partial):
            for left in partial.iterdir():
                left.unlink()
            _pack(data_root, partial, names, size, progress)
            os.makedirs(out, exist_ok=True)
            os.replace(partial / _DATA, os.path.join(out, _DATA))
            shutil.rmtree(partial)
    except lmdb.Error as error:
        raise DataFileError(out, f'cannot be written ({error})') from error
    finally:
        os.close(lock)
    return len(names)


@contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _pack(
    data_root: str,
    folder: Path,
    names: list[str],
    size: int,
    progress: Callable[..., Iterable[str]] | None,
) -> None:
    # LMDB rounds every value up to whole pages.
    with lmdb.open(os.fsencode(folder), map_size=size + 8192 * len(names) + 2**26) as store:
        todo = iter(names if progress is None else progress(names, total=len(names)))
        for start in range(0, len(names), _BATCH):
            with store.begin(write=True) as transaction:
                for _ in names[start : start + _BATCH]:
                    name = next(todo)
                    content = read_bytes(os.path.join(data_root, name))
                    transaction.put(name.encode('ascii'), content.tobytes())


def _files_of(root: Path) -> list[str]:
    infos = sorted(root.glob('*_infos_*.npz'))
    if not infos:
        raise DataFileError(
            str(root), f'has no info file; make it with {making_of(f"{root}/infos.npz")}'
        )
    names = {path.name for path in infos}
    for pattern in ('map/*.pkl', 'objects*.npz'):
        names |= {path.relative_to(root).as_posix() for path in root.glob(pattern)}
    for path in infos:
        names |= {str(cloud) for cloud in load_infos(str(path)).cloud if cloud != ''}
    for name in sorted(names):
        if not name.isascii() or len(name) > _MAX_KEY:
            raise DataFileError(name, f'cannot be a key: expected {_MAX_KEY} ASCII letters at most')
    return sorted(names)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError as error:
        raise DataFileError(path, f'cannot be packed ({error.strerror})') from error
