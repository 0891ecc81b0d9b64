"""Files made to harm: they run nothing, take no memory, and are refused by a sentence."""

import copyreg
import os
import pickle
import resource
import struct
import time
import zipfile
from multiprocessing.queues import Queue
from pathlib import Path

import lzf
import numpy as np
import pytest

from tests.datasets.attacks import MAP, _Calls, npy, routes, text
from tests.engine.small_runs import new_queue, start
from tests.scenes import write_scenario
from turbotrain.datasets import build_infos, load_infos, save_infos
from turbotrain.datasets.readers import (
    DataFileError,
    read_annotation,
    read_point_cloud,
    read_trajectories,
    read_vector_map,
)
from turbotrain.structures import Lane, Map


@pytest.fixture
def _registered():
    """An extension code for os.system that the process has used before."""
    copyreg.add_extension('posix', 'system', 240)
    assert pickle.loads(b'\x80\x02\x82\xf0.') is os.system
    yield
    copyreg.remove_extension('posix', 'system', 240)


@pytest.mark.usefixtures('_registered')
@pytest.mark.parametrize('route', routes(''))
@pytest.mark.parametrize('read', [read_trajectories, read_vector_map, load_infos])
def test_pickles_run_nothing(route, read, tmp_path):
    marker, path = tmp_path / 'ran', tmp_path / 'file'
    path.write_bytes(routes(f'touch {marker}')[route])
    methods = dict(vars(Map))
    with pytest.raises(DataFileError) as error:
        read(str(path))
    assert str(error.value).startswith(str(path)) and len(str(error.value)) < 700
    assert not marker.exists()
    assert dict(vars(Map)) == methods


def test_the_attacks_work_on_pickle_itself(tmp_path):
    """Else they would prove nothing."""
    content = routes(f'touch {tmp_path / "ran"}')
    for route in ('GLOBAL and REDUCE', 'STACK_GLOBAL', 'INST', 'OBJ', 'numpy'):
        pickle.loads(content[route])
        (tmp_path / 'ran').unlink()


@pytest.fixture
def infos(tmp_path) -> Path:
    write_scenario(tmp_path, frames=range(0, 10, 5), agents=(1,))
    save_infos(str(tmp_path / 'infos.npz'), build_infos(str(tmp_path), 'train'))
    return tmp_path / 'infos.npz'


def rewrite(path: Path, compression: int = zipfile.ZIP_STORED, **parts: bytes) -> None:
    """Replace members of an archive, or add them."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, part in (content | {f'{k}.npy': v for k, v in parts.items()}).items():
            archive.writestr(name, part)


def test_an_array_of_objects_in_an_info_file_runs_nothing(infos, tmp_path):
    attack = np.array([_Calls(f'touch {tmp_path / "ran"}')], dtype=object)
    rewrite(infos, cloud=npy(attack))
    with pytest.raises(DataFileError, match="key 'cloud'.*tools/create_data.py"):
        load_infos(str(infos))
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    ('key', 'path'),
    [
        ('cloud', '/etc/passwd'),
        ('cloud', '../../other/1/000000.bin'),
        ('cloud', 'train/../../000000.bin'),
        ('cloud', '..'),
        ('cloud', '..\\..\\000000.bin'),
        ('scenarios', '../scenario'),
        ('scenarios', '/scenario'),
    ],
)
def test_paths_cannot_leave_the_data_root(key, path, infos):
    with np.load(infos) as file:
        arrays = dict(file)
    arrays[key] = np.array([path] + arrays[key].tolist()[1:])
    np.savez(infos, **arrays)
    with pytest.raises(DataFileError, match=f'{key}.*expected.*tools/create_data.py'):
        load_infos(str(infos))


def aliases(levels: int, line: str) -> str:
    """A billion laughs."""
    rows = ['a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]']
    for i in range(1, levels):
        rows.append(f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 10)}]')
    return '\n'.join(rows) + f'\n{line.format(levels - 1)}\n'


POSE = 'lidar_pose: [0, 0, 0, 0, 0, 0]\n'
YAMLS = {
    'aliases as objects': aliases(10, POSE + 'vehicles: *a{}'),
    'aliases as a pose': aliases(10, 'vehicles: {{}}\nlidar_pose: *a{}'),
    'aliases in an object': aliases(9, POSE + 'vehicles: {{1: {{location: *a{}}}}}'),
    'merges': 'm0: &m0 {a: 1}\n'
    + ''.join(f'm{i}: &m{i} {{<<: [{", ".join([f"*m{i - 1}"] * 9)}]}}\n' for i in range(1, 10))
    + POSE + 'vehicles: *m9\n',
    'itself': POSE + 'vehicles: &v {1: *v}\n',
    'brackets': POSE + 'vehicles: ' + '[' * 200_000,
    'dashes': POSE + 'vehicles:\n  ' + '- ' * 200_000,
    'braces': POSE + 'vehicles: ' + '{a: ' * 200_000,
    'digits': POSE + 'vehicles: ' + '9' * 1_000_000,
    'base sixty': POSE + 'vehicles: 1' + ':1' * 500_000,
    'almost a float': POSE + 'vehicles: ' + '1' * 1_000_000 + 'x',
    'an array': 'vehicles: {}\nlidar_pose: '
    '!!python/object/apply:numpy.core.multiarray._reconstruct '
    '{args: [1], state: [1, [1000000000000], !!python/object/apply:numpy.dtype [f8], false, ""]}',
}  # fmt: skip


def pcd(points: int, data: bytes, encoding: str = 'binary') -> bytes:
    head = (
        f'VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n'
        f'WIDTH {points}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {points}\nDATA {encoding}\n'
    )
    return head.encode() + data


def lzf_bomb(points: int = 50_000_000) -> bytes:
    """The right sizes for the header, in a file of 9 MB."""
    block = lzf.compress(bytes(2**20))
    packed = block * (16 * points // 2**20 + 1)
    return pcd(points, struct.pack('<II', len(packed), 16 * points) + packed, 'binary_compressed')


def pickle_bombs() -> dict[str, bytes]:
    memo = b'\x80\x02Nr\xff\xff\xff\x7f.'  # LONG_BINPUT: the C unpickler makes room for 2^31
    scalar = b'cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n' + text('V2000000000')
    array = b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85'
    nested = b'\x80\x02]q\x00' + b''.join(
        b'](' + bytes([104, i]) * 10 + b'eq' + bytes([i + 1]) for i in range(40)
    )
    # A map of one long line, shared by many lanes.
    point = (
        f'{MAP}MapPoint\n)\x81}}'.encode('latin1')
        + b''.join(text(name) + b'K\x01s' for name in 'xyz')
        + b'bq\x01'
    )
    line = b'](' + point + b'h\x01' * 100_000 + b'eq\x02'
    lane = (
        f'{MAP}Lane\n)\x81}}'.encode('latin1')
        + text('type')
        + b'K\x01s'
        + b''.join(text(name) + b'h\x02s' for name in ('polyline', 'boundary'))
        + b'bq\x03'
    )
    shared = (
        b'\x80\x02'
        + f'{MAP}Map\n)\x81}}'.encode('latin1')
        + text('map_features')
        + b']('
        + (line + b'0' + lane + b'h\x03' * 100_000 + b'esb.')
    )
    return {
        'memo': memo,
        'a scalar': b'\x80\x02' + scalar + b'\x85R\x85R.',
        'an array': b'\x80\x02' + array + text('b') + b'\x87R.',
        'bytes': b'\x80\x04\x8e' + struct.pack('<Q', 10**12) + b'x.',
        'a long': b'\x80\x02\x8b' + struct.pack('<i', 2**31 - 1) + b'x.',
        'a frame': b'\x80\x04\x95' + struct.pack('<Q', 10**12) + b'N.',
        'lists of lists': nested + b'.',
        'shared lines': shared,
    }  # fmt: skip


READERS = {
    '.yaml': read_annotation, '.pcd': read_point_cloud, '.pkl': read_vector_map, '.npz': load_infos,
}  # fmt: skip


def read_all(folder: Path, results: Queue) -> None:
    """Read files with 200 MB more memory than there is in use; what each said, and in what time."""
    read_point_cloud(str(folder / 'good.bin'))  # compiles, the first time
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + 200 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    found = []
    for path in sorted(folder.glob('*.[pyn][ckap]*')):
        begin = time.process_time()
        try:
            READERS[path.suffix](str(path))
            said = 'was read'
        except DataFileError as error:
            said = str(error)
        except BaseException as error:
            said = repr(error)
        found.append((str(path), time.process_time() - begin, said))
    try:
        bytes(300 * 2**20)
        found.append('the limit is not felt')
    except MemoryError:
        results.put(found)


def test_bombs_take_neither_time_nor_memory(infos, tmp_path):
    """All in one process, which has less memory than any of them asks for."""
    folder = tmp_path / 'bombs'
    folder.mkdir()
    for name, content in YAMLS.items():
        (folder / f'{name}.yaml').write_text(content)
    for name, content in pickle_bombs().items():
        (folder / f'{name}.pkl').write_bytes(content)
    (folder / 'promise.pcd').write_bytes(pcd(10**12, bytes(160)))
    (folder / 'packed.pcd').write_bytes(lzf_bomb())
    for name, parts, compression in (
        ('zip', dict(frame=npy(np.zeros(50_000_000, np.int32))), zipfile.ZIP_DEFLATED),
        ('promise', dict(frame=npy(np.zeros(9, np.int32), shape=(10**12,))), zipfile.ZIP_STORED),
        ('wide', dict(cloud=npy(np.zeros(9, np.int32), descr='<U999999999')), zipfile.ZIP_STORED),
    ):
        copy = folder / f'{name}.npz'
        copy.write_bytes(infos.read_bytes())
        rewrite(copy, compression, **parts)
    np.ones((9, 4), '<f4').tofile(folder / 'good.bin')
    results = new_queue()
    process = start(read_all, folder, results)
    found = results.get(timeout=100)
    process.join(10)
    assert len(found) == len(YAMLS) + len(pickle_bombs()) + 5
    for path, seconds, said in found:
        assert said.startswith(path), (path, said)
        assert 'MemoryError' not in said, (path, said)
        assert len(said) < len(path) + 600
        assert seconds < 1, (path, seconds)


def test_lanes_without_points_and_trajectories_without_arrays_are_refused(tmp_path):
    path = tmp_path / 'a.pkl'
    begin = b'\x80\x02' + f'{MAP}Map\n)\x81}}'.encode('latin1') + text('map_features')
    path.write_bytes(begin + b'](' + f'{MAP}Lane\n)\x81'.encode('latin1') + b'esb.')
    with pytest.raises(DataFileError, match=r'map_features\[0\]\.type: expected a number'):
        read_vector_map(str(path))
    path.write_bytes(begin[:-4] + b'.')
    with pytest.raises(DataFileError):
        read_vector_map(str(path))
    lists = {0: {5: dict(trajectory=[[1.0] * 4], trajectory_mask=[True])}}
    path.write_bytes(pickle.dumps(lists))
    with pytest.raises(DataFileError, match=r'\[0\]\[5\]: expected arrays'):
        read_trajectories(str(path))
    assert not hasattr(Lane, 'polyline')
