"""Arrays of another kind, shape or range in info files and object databases: refused by name."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.attacks import npy
from tests.datasets.objects import objects
from tests.scenes import write_scenario
from turbotrain.datasets import (
    build_infos,
    load_infos,
    save_infos,
)
from turbotrain.datasets.object_database import (
    load_objects,
    save_objects,
)
from turbotrain.datasets.readers import DataFileError


@pytest.fixture(scope='module')
def good(tmp_path_factory) -> dict[str, tuple[Path, Callable]]:
    root = tmp_path_factory.mktemp('good')
    write_scenario(root, frames=range(0, 10, 5), agents=(1, -1), objects=2)
    save_infos(str(root / 'infos.npz'), build_infos(str(root), 'train'))
    save_objects(str(root / 'objects.npz'), objects())
    return dict(
        infos=(root / 'infos.npz', load_infos), objects=(root / 'objects.npz', load_objects)
    )


def refused(read: Callable, path: Path, key: str) -> str:
    with pytest.raises(DataFileError, match=f'key {key!r}.*make it anew') as error:
        read(str(path))
    assert error.value.path == str(path) and len(str(error.value)) < len(str(path)) + 400
    return str(error.value)


def other_kinds(values: np.ndarray) -> dict[str, bytes]:
    """The same array of other types and shapes, as it lies in an archive."""
    text = values.dtype.kind == 'U'
    found = dict(
        deeper=npy(np.stack([values, values], axis=-1)),
        object=npy(np.zeros(values.shape, dtype=np.float64).astype(object)),
        complex=npy(np.zeros(values.shape, dtype=complex)),
        dates=npy(np.zeros(values.shape, dtype='M8[s]')),
        records=npy(np.zeros(values.shape, dtype=[('a', 'f4')])),
        bytes=npy(np.zeros(values.shape, dtype='S4')),
        endless=npy(values[:0] if values.ndim else values, shape=(10**12,), descr='<U0'),
    )
    if text:
        letters = np.full(values.shape, 'x').view(np.uint32)
        found['no letters'] = npy(np.full_like(letters, 0x110000).view('<U1'))
        found['surrogates'] = npy(np.full_like(letters, 0xD800).view('<U1'))
        found['numbers'] = npy(np.zeros(values.shape))
    else:
        found['texts'] = npy(values.astype('U'))
        found['swapped'] = npy(values.astype(values.dtype.newbyteorder()))
        if values.dtype.kind == 'f':
            found['NaN'] = npy(np.full_like(values, np.nan))
            found['infinite'] = npy(np.full_like(values, np.inf))
        if values.dtype != bool:
            found['floats'] = npy(values.astype(np.float16))
    if values.ndim:
        found['none'] = npy(np.zeros((), values.dtype))
        found['longer'] = npy(np.concatenate([values, values, values]))
    if values.dtype.itemsize == 1:
        del found['swapped']
    return found


@pytest.mark.parametrize('kind', ['infos', 'objects'])
def test_every_array_of_every_other_kind(kind, good, tmp_path):
    source, read = good[kind]
    with zipfile.ZipFile(source) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    path = tmp_path / 'a.npz'
    tried = 0
    for name in parts.keys() - {'header.npy'}:
        key = name.removesuffix('.npy')
        for other, content in other_kinds(np.load(io.BytesIO(parts[name]))).items():
            with zipfile.ZipFile(path, 'w') as archive:
                for one, part in parts.items():
                    archive.writestr(one, content if one == name else part)
            # A shared size belongs to no array: the next one may be the one that does not fit.
            if other == 'longer':
                try:
                    read(str(path))
                except DataFileError as error:
                    assert 'key ' in error.problem
                else:
                    assert key in ('class_names', 'scenarios'), key
            else:
                refused(read, path, key)
            tried += 1
    assert tried > 80


CHANGES = {
    'infos': {
        'agent': lambda v: v * 0 + 2 * 10**9,
        'scenario': lambda v: v + 1,
        'frame': lambda v: v * 0,
        'world_from_agent': lambda v: v * 0,
        'object_class': lambda v: v + 100,
        'object_begin': lambda v: v[::-1],
        'object_extent': lambda v: v * -1,
        'object_centre': lambda v: v + 1e20,
        'dataset': lambda v: np.array('nuscenes'),
        'cloud': lambda v: np.char.add('../', v),
    },
    'objects': {
        'label': lambda v: v + 7,
        'begin': lambda v: v + 1,
        'size': lambda v: v * 0,
        'known': lambda v: ~v,
        'time_offsets': lambda v: v + 0.1,
        'points': lambda v: v + np.float32(1e9),
        'yaw': lambda v: v - 1e9,
        'centre': lambda v: v - 1e9,
    },
}


@pytest.mark.parametrize(
    ('kind', 'key'), [(kind, key) for kind, changes in CHANGES.items() for key in changes]
)
def test_values_that_cannot_be_are_neither_read_nor_written(kind, key, good, tmp_path):
    source, read = good[kind]
    with np.load(source) as file:
        arrays = dict(file)
    save = save_infos if kind == 'infos' else save_objects
    changed = CHANGES[kind][key](arrays[key])
    written = tmp_path / 'written.npz'
    with pytest.raises(DataFileError, match=f'key {key!r}.*it is not written'):
        save(str(written), replace(read(str(source)), **{key: changed}))
    assert not list(tmp_path.iterdir())
    np.savez(tmp_path / 'a.npz', **arrays | {key: changed})
    refused(read, tmp_path / 'a.npz', key)


def test_more_classes_than_an_info_file_can_number(tmp_path, monkeypatch):
    write_scenario(tmp_path, frames=range(0, 10, 5), agents=(1,), objects=6)
    monkeypatch.setattr('turbotrain.datasets.info_builder._MAX_CLASSES', 5)
    with pytest.raises(DataFileError, match='train: has objects of 6 classes; expected 5 at most'):
        build_infos(str(tmp_path), 'train')
