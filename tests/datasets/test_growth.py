"""Files made to cost more than they are large: time and memory stay in proportion to the bytes."""

import pickle
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.annotations import HEAD, OBJECT
from tests.datasets.attacks import text
from tests.datasets.growth import objects, points
from turbotrain.datasets.readers import (
    DataFileError,
    read_annotation,
    read_trajectories,
    read_vector_map,
)
from turbotrain.structures import polylines_of

MODULUS = 2**61 - 1  # whole numbers that differ by it have the same hash


def costs(read: Callable[[str], object], path: Path) -> str:
    """What a reader says of a file, once its time and its memory are within bounds."""
    megabytes = path.stat().st_size / 1e6
    begin, said = time.process_time(), 'was read'
    try:
        read(str(path))
    except DataFileError as error:
        said = str(error)
        assert said.startswith(str(path)) and len(said) < len(str(path)) + 700
    assert time.process_time() - begin < 1 + megabytes
    tracemalloc.start()
    try:
        read(str(path))
    except DataFileError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**25 + 64e6 * megabytes
    return said


def aliases_of_a_text(number: int) -> str:
    return f'a: &a {"x" * 300_000}\nvehicles: {{}}\nlidar_pose: [{", ".join(["*a"] * number)}]\n'


ANNOTATIONS = {
    'anchors': (HEAD + ''.join(f'a{i}: &a{i} x\n' for i in range(5_000)), 'vehicles'),
    'tags and anchors': (HEAD + '- ' + '! &a ' * 60_000, 'YAML'),
    'dashes and anchors': (HEAD + 'a:\n' + ' - &a\n' * 5_000, 'vehicles'),
    'a long list': (HEAD + f'a: [{"1," * 400_000}]', 'stands for more than 100000 values'),
    'empty lists': (HEAD + f'a: [{"[]," * 20_000}]', 'vehicles'),
    'colliding numbers': (
        HEAD + 'vehicles: {' + ''.join(f'{i * MODULUS}: 1, ' for i in range(1, 9_000)) + '}',
        'vehicles',
    ),
    'colliding fractions': (
        HEAD + 'a: {' + ''.join(f'{i}e40: 1, ' for i in range(9_000)) + '}',
        'vehicles',
    ),
    'directives': (
        ''.join(f'%TAG !a{i}! x\n' for i in range(20_000)) + '--- 1',
        'more than 16 directives',
    ),
    'a class of a long name': (objects(f'&a {"x" * 300_000}', 1), 'at most 64 letters'),
    'classes of a shared name': (
        HEAD
        + f'n: &n {"x" * 300_000}\nvehicles:\n'
        + ''.join(f'  {i}: {{obj_type: *n, {OBJECT.format(i)}}}\n' for i in range(300)),
        'at most 64 letters',
    ),
    'a pose of shared texts': (aliases_of_a_text(6), 'lidar_pose'),
    'many shared texts': (aliases_of_a_text(3000), 'lidar_pose'),
    'a shape of texts': (
        'vehicles: {}\nlidar_pose: !!python/object/apply:numpy.core.multiarray._reconstruct '
        '{args: [], state: [1, [a, 1000000000], !!python/object/apply:numpy.dtype [f8], no, ""]}',
        'does not belong here',
    ),
}


@pytest.mark.parametrize('attack', ANNOTATIONS)
def test_annotations(attack, tmp_path):
    text, word = ANNOTATIONS[attack]
    path = tmp_path / 'a.yaml'
    path.write_text(text)
    assert word in costs(read_annotation, path)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16-le', 'utf-16-be'])
def test_what_nests_too_deep_is_seen_as_the_parser_sees_it(encoding, tmp_path):
    path = tmp_path / 'a.yaml'
    mark = '\ufeff' if encoding.startswith('utf-16') else ''
    for lead in ('', '#' + ']' * 50_000 + '\n', '"' + '}' * 500 + '": 1\n'):
        for nest in ('[', '- ', '{a: ', '? ', '[! ', '[&a '):
            text = mark + lead + HEAD + 'vehicles:\n  ' + nest * 20_000
            path.write_bytes(text.encode(encoding))
            with pytest.raises(DataFileError, match='nested deeper than 64 levels'):
                read_annotation(str(path))


def test_good_files_in_every_encoding(tmp_path):
    path = tmp_path / 'a.yaml'
    poses = []
    for encoding in ('utf-8', 'utf-8-sig', 'utf-16'):
        path.write_bytes((objects('Car', 700) + '# Ä').encode(encoding))
        found = read_annotation(str(path))
        assert len(found.ids) == 700 and set(found.types) == {'Car'}
        poses.append(found.world_from_agent)
    np.testing.assert_array_equal(poses[0], poses[1])
    np.testing.assert_array_equal(poses[0], poses[2])


# An array but for its state.
ARRAY = b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R'
TRACK = dict(trajectory=np.zeros((10_000, 4)), trajectory_mask=np.ones(10_000, bool))
F8 = b'cnumpy\ndtype\nU\x02f8\x85R'


def array(content: bytes, numbers: int) -> bytes:
    """An array of (numbers / 4, 4), all at the front of ``content``'s instructions."""
    shape = struct.pack('<BiBi', 0x4A, numbers // 4, 0x4A, 4) + b'\x86'
    return ARRAY + b'(K\x01' + shape + F8 + b'\x89' + content + b'tb'


def latin(number: int) -> bytes:
    """Python 2's bytes."""
    return b'T' + struct.pack('<i', number) + b'\x00' * number


def lanes(path: str) -> None:
    polylines_of(read_vector_map(path))


PICKLES = {
    'colliding keys': (
        read_trajectories,
        pickle.dumps({i * MODULUS: None for i in range(1, 9000)}),
        'a name or a number as a key',
    ),
    'colliding items': (
        read_trajectories,
        b'ccollections\nOrderedDict\n('
        + pickle.dumps([[i * MODULUS, 0] for i in range(1, 9000)], 2)[2:-1]
        + b'tR.',
        'a name or a number as a key',
    ),
    'many keys': (read_trajectories, pickle.dumps(dict.fromkeys(range(50_000))), 'more than 10000'),
    'numbers of the memo': (
        read_trajectories,
        b'N' + b''.join(b'p%d\n' % (i * MODULUS) for i in range(1, 9000)) + b'.',
        'IndexError',
    ),
    'a long memo': (read_trajectories, b'\x80\x04N' + b'\x94' * 100_000 + b'.', 'got None'),
    'marks': (read_trajectories, b'N' + b'(' * 100_000 + b'.', 'IndexError'),
    'a scalar of much': (
        read_trajectories,
        b'\x80\x02' + b'cnumpy.core.multiarray\nscalar\n' + F8 + latin(300_000) + b'\x86q\x00R.',
        'scalar in 300000 bytes',
    ),
    'arrays of one text': (
        read_trajectories,
        b'\x80\x02' + latin(320_000) + b'q\x00](' + array(b'h\x00', 40_000) * 500 + b'e.',
        'got [<PickledArray>',
    ),
    'tracks of one array': (
        read_trajectories,
        pickle.dumps({0: {i: dict(TRACK) for i in range(9000)}}, 4),
        'was read',
    ),
    'a shape of texts': (
        read_trajectories,
        b'\x80\x02' + ARRAY + b'(K\x01J\xff\xff\xff\x7f' + text('x') + b'\x86' + F8 + b'\x89'
        + text('') + b'tb.',
        'an array',
    ),
    'shared points': (lanes, b'\x80\x02' + points(60_000), 'was read'),
    'too many points': (lanes, b'\x80\x02' + points(600_000), 'more than 500000 points'),
}  # fmt: skip


@pytest.mark.parametrize('attack', PICKLES)
def test_pickles(attack, tmp_path):
    read, content, word = PICKLES[attack]
    path = tmp_path / 'a.pkl'
    path.write_bytes(content)
    assert word in costs(read, path)


@pytest.mark.parametrize('kind', [-1, 256, 2**300, True, None, 'x', 1.0])
def test_types_of_lanes(kind, tmp_path):
    path = tmp_path / 'a.pkl'
    good = points(9)
    place = good.index(text('type')) + len(text('type'))
    wrong = good[:place] + pickle.dumps(kind, 2)[2:-1] + good[place + 2 :]
    path.write_bytes(b'\x80\x02' + wrong)
    with pytest.raises(DataFileError, match=r'map_features\[0\].type: expected a number from 0'):
        read_vector_map(str(path))


def test_tracks_that_are_no_numbers(tmp_path):
    path, mask = tmp_path / 'a.pkl', np.array([True, False])
    good = np.array([[0.0, 1, 2, 3], [np.nan] * 4])
    for trajectory, seen, word in (
        (good.astype('U'), mask, 'expected numbers'),
        (good.astype('S'), mask, 'expected numbers'),
        (good, mask.astype('U'), 'expected numbers'),
        (good, ~mask, 'finite'),
        (np.full((2, 4), np.inf), mask, 'finite'),
        (np.full((2, 4), -(2**63)), mask, 'finite'),
        (np.full((2, 4), 2**63, dtype=np.uint64), mask, 'finite'),
        (good, np.array([1, np.nan]), 'expected 0 and 1'),
        (good, np.array([1, np.inf]), 'expected 0 and 1'),
        (good, np.array([1, -1], dtype=np.int8), 'expected 0 and 1'),
    ):
        track = dict(trajectory=trajectory, trajectory_mask=seen)
        path.write_bytes(pickle.dumps({0: {5: track}}))
        with pytest.raises(DataFileError, match=rf'\[0\]\[5\]: .*{word}'):
            read_trajectories(str(path))
    path.write_bytes(pickle.dumps({0: {5: dict(trajectory=good, trajectory_mask=mask)}}))
    assert read_trajectories(str(path))[0][5]['trajectory'].shape == (2, 4)
