"""Infos, clouds and maps from a disk, an LMDB and a web server; building that is interrupted."""

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from tests.datasets.conftest import PIPELINE
from tests.datasets.samples import assert_same
from tests.scenes import write_scenario
from turbotrain.datasets import V2XPnPDataset, build_infos, save_infos
from turbotrain.datasets import info_builder as builder
from turbotrain.datasets.object_database import (
    build_object_database,
    load_objects,
    save_objects,
)
from turbotrain.datasets.packing import pack_dataset
from turbotrain.datasets.readers import DataFileError, MissingFileError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def stored(tiny_set, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('stored') / 'data'
    shutil.copytree(tiny_set, root)
    save_infos(str(root / 'v2xpnp_infos_train.npz'), build_infos(str(root), 'train'))
    objects = build_object_database(open_dataset(str(root)), min_points=5, stride=10)
    save_objects(str(root / 'objects.npz'), objects)
    return root


def open_dataset(root: str, **backend_args) -> V2XPnPDataset:
    return V2XPnPDataset(
        'v2xpnp_infos_train.npz', root, pipeline=PIPELINE, backend_args=backend_args or None
    )


def assert_equal(one: V2XPnPDataset, other: V2XPnPDataset, workers: int = 0) -> None:
    loader = DataLoader(other, batch_size=None, num_workers=workers, collate_fn=lambda x: x)
    for i, sample in enumerate(loader):
        assert_same(one[i], sample)
        assert len(sample['data_samples'].vector_map)


def test_an_lmdb_holds_it_all_also_for_workers(stored, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / 'tools/pack_dataset.py', stored, '--out', 'store.lmdb'],
        cwd=tmp_path, text=True, check=False, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    dataset = open_dataset('', backend='lmdb', db_path=str(tmp_path / 'store.lmdb'))
    expected = open_dataset(str(stored))
    assert len(dataset) == len(expected)
    dataset[0]  # the store is open before the workers start
    assert_equal(expected, dataset, workers=2)
    objects = load_objects('objects.npz', dataset.backend_args)
    for name, value in vars(load_objects(str(stored / 'objects.npz'))).items():
        np.testing.assert_array_equal(value, getattr(objects, name))
    with pytest.raises(MissingFileError, match='other.npz'):
        V2XPnPDataset('other.npz', '', backend_args=dataset.backend_args)


def test_packing_says_what_is_missing(stored, tmp_path):
    shutil.copytree(stored, tmp_path / 'data')
    cloud = next((tmp_path / 'data/train').glob('*/1/*.bin'))
    cloud.unlink()
    with pytest.raises(DataFileError, match=cloud.name):
        pack_dataset(str(tmp_path / 'data'), str(tmp_path / 'store'))
    assert not (tmp_path / 'store').exists()
    with pytest.raises(DataFileError, match='is no LMDB'):
        pack_dataset(str(stored), str(stored))
    assert (stored / 'train').is_dir()
    with pytest.raises(DataFileError, match='no info file'):
        pack_dataset(str(tmp_path), str(tmp_path / 'store'))


def test_a_web_server(stored):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(stored))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        assert_equal(open_dataset(str(stored)), open_dataset(address, backend='http'))
        with pytest.raises(MissingFileError, match='other.npz'):
            V2XPnPDataset('other.npz', address, backend_args=dict(backend='http'))
        server.shutdown()


def test_infos_are_built_through_any_storage_that_can_list(stored):
    through = build_infos(str(stored), 'train', backend_args=dict(backend='local'))
    for name, value in vars(build_infos(str(stored), 'train')).items():
        np.testing.assert_array_equal(value, getattr(through, name))
    with pytest.raises(DataFileError, match='cannot be listed'):
        build_infos('http://127.0.0.1:1', 'train', backend_args=dict(backend='http'))


def test_an_interrupted_build_goes_on_where_it_was(tmp_path, monkeypatch):
    names = [f'2023-03-1{i}-16-12-12_3_0' for i in range(3)]
    for i, name in enumerate(names):
        write_scenario(tmp_path, name=name, frames=range(0, 20, 5), objects=3, seed=i)
    parts = str(tmp_path / 'parts')
    read, count, limit = builder.read_moment, [], 20

    def counted(row, *args, **kwargs):
        count.append(row)
        if len(count) > limit:
            raise KeyboardInterrupt
        return read(row, *args, **kwargs)

    monkeypatch.setattr(builder, 'read_moment', counted)
    with pytest.raises(KeyboardInterrupt):
        build_infos(str(tmp_path), 'train', parts_dir=parts)
    count.clear()
    limit = 1000
    infos = build_infos(str(tmp_path), 'train', parts_dir=parts)
    # The scenario that was cut off, and the one after it; each file once.
    assert len(count) == len(set(count)) == 32
    for name, value in vars(build_infos(str(tmp_path), 'train', workers=2)).items():
        np.testing.assert_array_equal(value, getattr(infos, name))
    # What changed meanwhile is read again.
    count.clear()
    path = tmp_path / 'train' / names[0] / '1/000000.yaml'
    path.write_text(path.read_text() + '\n')
    build_infos(str(tmp_path), 'train', parts_dir=parts)
    assert len(count) == 16


def test_samples_are_drawn(stored, tmp_path):
    done = subprocess.run(
        [
            sys.executable, ROOT / 'tools/browse_dataset.py',
            ROOT / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py', '--index', '3', '5',
            '--out-dir', 'seen', '--cfg-options', f'train_dataloader.dataset.data_root={stored}',
        ],
        cwd=tmp_path, text=True, check=False, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pictures = sorted((tmp_path / 'seen').iterdir())
    assert [p.name for p in pictures] == ['train_000003.png', 'train_000005.png']
    assert all(p.stat().st_size > 20_000 for p in pictures)
    assert str(pictures[0]) in done.stdout
