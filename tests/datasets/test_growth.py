"""Files made to cost more than they are large: time and memory stay in proportion to the bytes."""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from projects.TurboTrain.turbotrain.datasets.readers import DataFileError, read_annotation
from tests.datasets.test_object_ids import HEAD, OBJECT

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


def objects(kind: str, number: int) -> str:
    return HEAD + 'vehicles:\n' + ''.join(
        f'  {i}: {{obj_type: {kind}, {OBJECT.format(i)}}}\n' for i in range(number)
    )  # fmt: skip


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
