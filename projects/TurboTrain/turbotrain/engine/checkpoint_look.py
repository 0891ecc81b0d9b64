"""A look at a checkpoint before torch reads it, as strict on every version of torch.

torch's own unpickler of weights has had holes: before 2.6 it ran TorchScript archives
(CVE-2025-32434); before 2.10 it set items of tensors, and believed the sizes that a pickle claims
for storages (CVE-2026-24747). Here the pickle is followed with stand-ins for all that it names:
nothing is built, items are set in mappings alone, and storages are as large as what is there.
"""

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from ..datasets.readers import shown
from ..datasets.readers.restricted_pickle import RestrictedUnpickler
from ..errors import CheckpointError

__all__ = ['look_at_archive', 'look_at_legacy_file']

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of files before torch 1.6
_ITEMSIZES = {
    f'{kind}Storage': size
    for size, kinds in {
        1: 'Bool Byte Char QInt8 QUInt8 QUInt4x2 QUInt2x4 Untyped',
        2: 'BFloat16 Half Short',
        4: 'Float Int QInt32',
        8: 'ComplexFloat Double Long',
        16: 'ComplexDouble',
    }.items()
    for kind in kinds.split()
}
_MAPPINGS = ('collections.OrderedDict', 'collections.Counter')


class _Size(NamedTuple):
    """What a pickle claims of a storage."""

    number: int
    itemsize: int


class _StandIn:
    """What a pickle names, or makes of it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: object) -> Any:
        return {} if self.name in _MAPPINGS else _StandIn('object')


class _Look(RestrictedUnpickler):
    """Follows a pickle of ``torch.save``; ``storages`` gets what it claims of each, by its key."""

    dispatch = RestrictedUnpickler.dispatch | {
        code[0]: pickle._Unpickler.dispatch[code[0]]
        for code in (pickle.BINPERSID, pickle.EMPTY_SET)
    }

    def __init__(self, file: BinaryIO, storages: dict[str, _Size]) -> None:
        super().__init__(file, {})
        self._storages = storages

    def find_class(self, module: str, name: str) -> Callable:
        return _StandIn(f'{module}.{name}')

    def load_reduce(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _StandIn):
            raise pickle.UnpicklingError(f'a call of {shown(function)}')
        self.append(function(*args))

    def load_build(self) -> None:
        self.stack.pop()

    def persistent_load(self, pid: Any) -> _StandIn:
        word, storage, key, _, number, *view = pid
        name = storage.name.rpartition('.')[2]
        if word != 'storage' or type(key) is not str or view not in ([], [None]):
            raise pickle.UnpicklingError('a reference to something that is no storage')
        if name not in _ITEMSIZES or type(number) is not int or number < 0:
            raise pickle.UnpicklingError(f'{shown(number)} values of {name:.60}')
        size = _Size(number, _ITEMSIZES[name])
        if self._storages.setdefault(key, size) != size:
            raise pickle.UnpicklingError(f'storage {shown(key)} has two sizes')
        return _StandIn('storage')

    dispatch[pickle.REDUCE[0]] = dispatch[pickle.NEWOBJ[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build


def _follow(path: str, file: BinaryIO, storages: dict[str, _Size]) -> Any:
    """Read one pickle of a file; ``storages`` gets what it claims of each."""
    try:
        return _Look(file, storages).load()
    except pickle.UnpicklingError as error:
        raise CheckpointError(path, f'holds what torch.save does not write: {error}') from None


def look_at_archive(path: str, archive: zipfile.ZipFile) -> None:
    """Refuse what ``torch.save`` does not write, and torch may read otherwise than it was checked.

    It stores its parts as they are: what is packed could unpack to any size. Of two directories in
    one file, or two parts of one name, torch may read the other.

    Raises:
        CheckpointError: says what torch would not have written.
        Exception: of any kind, where the pickle is damaged.
    """
    parts = archive.infolist()
    sizes = {part.filename: part.file_size for part in parts}
    if any(name.endswith('constants.pkl') or '/code/' in name for name in sizes):
        raise CheckpointError(path, 'is a TorchScript archive, which holds code and is not loaded')
    # zipfile adds what lies before the archive to all offsets.
    hidden = len(sizes) < len(parts) or min((part.header_offset for part in parts), default=0) > 0
    folders = {name.partition('/')[0] for name in sizes}
    if hidden or len(folders) > 1:
        raise CheckpointError(
            path, 'has parts that its directory hides; expected a file of torch.save'
        )
    for part in parts:
        if part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size:
            raise CheckpointError(
                path, f'part {part.filename!r} is compressed; expected a file of torch.save'
            )
    if sum(sizes.values()) > os.path.getsize(path):
        raise CheckpointError(path, 'has parts that lie on each other')
    damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointError(path, f'is damaged: wrong check sum of its part {damaged!r}')
    folder, storages = ''.join(folders), {}
    with archive.open(f'{folder}/data.pkl') as file:
        _follow(path, file, storages)
    for key, size in storages.items():
        found = sizes.get(f'{folder}/data/{key}')
        if found != size.number * size.itemsize:
            raise CheckpointError(
                path, f'storage {shown(key)}: expected {size.number} values of {size.itemsize} '
                f'bytes, got {found} bytes'
            )  # fmt: skip


def look_at_legacy_file(path: str, file: BinaryIO) -> None:
    """The same for a file as torch wrote it before 1.6: pickles and storages, one after another.

    Raises:
        CheckpointError: it is none.
        Exception: of any kind, where a pickle is damaged.
    """
    storages: dict[str, _Size] = {}
    magic, protocol, system = (_follow(path, file, {}) for _ in range(3))
    _follow(path, file, storages)
    keys = _follow(path, file, {})
    if (magic, protocol) != (_MAGIC, _PROTOCOL) or not isinstance(system, dict):
        raise CheckpointError(path, 'is damaged or no checkpoint')
    if not isinstance(keys, list) or len(keys) != len(storages) or {*keys} != storages.keys():
        raise CheckpointError(
            path, f'expected storages {shown([*storages])}, got those of {shown(keys)}'
        )
    for key in keys:
        (number,), size = struct.unpack('<q', file.read(8)), storages[key]
        end = file.tell() + size.number * size.itemsize
        if number != size.number or end > os.path.getsize(path):
            raise CheckpointError(path, f'storage {shown(key)}: expected {size.number} values')
        file.seek(end)
