"""What reading costs: time and memory for each megabyte of a file, stated for every reader."""

import gc
import json
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import lzf
import numpy as np
import pytest
import torch
from PIL import Image

from tests import dair
from tests.datasets.growth import objects as annotation
from tests.datasets.growth import points as map_of
from tests.datasets.objects import objects as database
from tests.fuzzing import HEAD, PREDICTION, READERS
from tests.layouts import write_pcd
from tests.scenes import write_scenario
from turbotrain.datasets import build_infos, save_infos
from turbotrain.datasets.object_database import save_objects
from turbotrain.simulation.cameras import CAMERAS
from turbotrain.simulation.writer import write_annotation

POINTS = np.random.default_rng(0).uniform(-40, 40, (60_000, 4)).astype('<f4')


def packed_zeros(path: Path) -> None:
    """As many points as a cloud may have, all of them one."""
    raw = bytes(12 * (2**26 // 16))
    content = lzf.compress(raw, len(raw))
    head = (
        f'FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS {len(raw) // 12}\nDATA binary_compressed\n'
    )
    path.write_bytes(head.encode() + struct.pack('<II', len(content), len(raw)) + content)


def trajectories(path: Path) -> None:
    def track() -> dict:
        return dict(trajectory=np.ones((20, 4)), trajectory_mask=np.ones(20, bool))

    path.write_bytes(pickle.dumps({0: {i: track() for i in range(1_000)}}, protocol=4))


def infos(path: Path) -> None:
    write_scenario(path.parent, frames=range(0, 10, 5), agents=(1,), objects=2)
    few = build_infos(str(path.parent), 'train')
    columns = {k: np.repeat(v, 5_000, axis=0) for k, v in vars(few).items() if k[:7] == 'object_'}
    columns['object_begin'] = np.array([0, 10_000, 20_000])
    save_infos(str(path), replace(few, **columns))


def weights(path: Path, **how: bool) -> None:
    content = OrderedDict((f'layer.{i}.weight', torch.zeros(100)) for i in range(1_000))
    torch.save(dict(meta=dict(iter=3), state_dict=content), path, **how)


def pickled(path: Path) -> None:
    """A checkpoint that is all pickle."""
    weights(path)
    with zipfile.ZipFile(path) as before:
        parts = {name: before.read(name) for name in before.namelist()}
    numbers = pickle.dumps(dict(meta=[0.5] * 60_000), protocol=2)
    with zipfile.ZipFile(path, 'w') as after:
        for name, content in parts.items():
            after.writestr(name, numbers if name.endswith('data.pkl') else content)


def picture(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def with_cameras(path: Path) -> None:
    there = dict(obj_type='Car', angle=(0, 30, 0), extent=(2.2, 0.9, 0.8), location=(1.0, 2.0, 0.5))
    objects = dict.fromkeys(range(3_000), there)
    write_annotation(path, np.arange(6.0), False, objects, CAMERAS[False])


def lines(*rows: dict) -> Callable[[Path], None]:
    return lambda path: path.write_text('\n'.join(map(json.dumps, rows)))


def json_list(row: dict, count: int) -> Callable[[Path], None]:
    return lambda path: path.write_text(json.dumps([row] * count))


# A large file of each kind, the reader, and what each megabyte may cost: seconds, and megabytes.
# Measured was two thirds of it or less. Packed zeros are a cloud of the greatest size.
FILES = {
    'yaml': ('yaml', lambda path: path.write_text(annotation('Car', 3_000)), 3, 40),
    **{
        f'labels of {name}': (f'labels_{name}', json_list(dair.box(name), 3_000), 2, 20)
        for name in ('dair_v2x_c', 'v2x_seq')
    },
    'moments': ('moments', json_list(dict(
        frame_id='000200', sequence_id='0001', pointcloud_timestamp='1626000000100000',
        pointcloud_path='velodyne/000200.pcd', label_lidar_std_path='label/lidar/000200.json',
    ), 3_000), 0.3, 8),
    'pairs': ('pairs', json_list(dict(
        vehicle_frame='000200', infrastructure_frame='000210', vehicle_sequence='0001',
        infrastructure_sequence='0001', system_error_offset=dict(delta_x=0.5, delta_y=-0.3),
    ), 3_000), 0.3, 9),
    'splits': ('splits', lambda path: path.write_text(json.dumps(
        dict(cooperative_split=dict(train=[f'{i:06d}' for i in range(60_000)]))
    )), 0.5, 18),
    'unit_pose': ('unit_pose', lambda path: path.write_text(json.dumps(dict(
        rotation=dair.PLAIN, translation=[[0.0]] * 3, relative_error='', history=[0.5] * 100_000
    ))), 0.3, 13),
    'cameras': ('cameras', with_cameras, 1, 10),
    'jpeg': ('jpeg', picture, 0.3, 17),
    'bin': ('bin', POINTS.tofile, 0.2, 4),
    'pcd ascii': ('pcd_ascii', lambda path: write_pcd(path, POINTS[:20_000], 'ascii'), 1, 12),
    'pcd': ('pcd_binary', lambda path: write_pcd(path, POINTS, 'binary'), 0.2, 4),
    'packed pcd': (
        'pcd_binary_compressed', lambda path: write_pcd(path, POINTS, 'binary_compressed'), 0.2, 6
    ),
    'packed zeros': ('pcd_binary_compressed', packed_zeros, 1, 300),
    'map': ('map', lambda path: path.write_bytes(b'\x80\x02' + map_of(200_000)), 4, 160),
    'trajectories': ('trajectories', trajectories, 1, 6),
    'infos': ('infos', infos, 0.5, 6),
    'objects': (
        'objects',
        lambda path: save_objects(
            str(path), replace(database(), begin=np.array([0, 3, 60_000]), points=POINTS)
        ),
        0.2, 6,
    ),
    'predictions': (
        'predictions', lines(HEAD, *(PREDICTION | dict(frame=i) for i in range(3_000))), 2, 24
    ),
    'ignore': ('ignore', lambda path: path.write_text(json.dumps(dict(
        format='turbotrain-ignore-list', version=1, clouds=[f'train/{i}' for i in range(60_000)]
    ))), 0.5, 20),
    'checkpoint': ('checkpoint', weights, 2, 8),
    'checkpoint of numbers': ('checkpoint', pickled, 1, 8),
    'old checkpoint': (
        'old_checkpoint', lambda path: weights(path, _use_new_zipfile_serialization=False), 2, 8
    ),
    'scalars': ('scalars', lines(*(dict(step=i, lr=0.1, loss=2.0) for i in range(20_000))), 3, 40),
    'metrics': ('metrics', lines({f'AP@{i}': 12.5 for i in range(60_000)}), 0.5, 20),
    'robustness': ('robustness', lines(dict(about={}, sweeps=dict(
        delay={f'{i / 1000}': dict(AP=1.5, EPA=2.5) for i in range(20_000)}
    ))), 0.3, 16),
}  # fmt: skip


@pytest.fixture(scope='module', autouse=True)
def _compiled(tmp_path_factory) -> Iterator[None]:
    """Kernels are compiled once in a process, and what other tests left is not searched again."""
    path = tmp_path_factory.mktemp('small') / 'a.bin'
    POINTS[:10].tofile(path)
    READERS['bin'][1](str(path))
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_no_reader_is_left_out():
    assert {reader for reader, *_ in FILES.values()} == set(READERS)


@pytest.mark.parametrize('kind', FILES)
def test_a_megabyte_costs(kind, tmp_path):
    reader, write, seconds, memory = FILES[kind]
    suffix, read = READERS[reader]
    path = tmp_path / f'large{suffix}'
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    megabytes = path.stat().st_size / 1e6
    assert megabytes > 0.3
    begin = time.process_time()
    read(str(path))
    took = time.process_time() - begin
    tracemalloc.start()
    read(str(path))
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert took < 0.2 + seconds * megabytes
    assert peak < 2 + memory * megabytes
