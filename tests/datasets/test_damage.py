"""200 damaged files: each is refused with its name and what is wrong, at once, by every road."""

import copy
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.datasets.conftest import PIPELINE
from tests.layouts import write_pcd
from tests.scenes import write_scenario
from turbotrain.datasets.readers import (
    DIALECTS,
    DataFileError,
    read_annotation,
    read_point_cloud,
)

OBJECT = dict(
    angle=[0, 30, 0], center=[0, 0, 0], extent=[2, 1, 0.8], location=[1, 2, 3], obj_type='Car'
)
GOOD = dict(lidar_pose=[1.0, 2.0, 3.0, 0.0, 5.0, 0.0], vehicles={7: OBJECT})
WRONG_NUMBERS = (
    None, 3, 'here', [], [1, 2], [1, 2, 'x'], [1, 2, None], [1, 2, float('nan')],
    [1, 2, float('inf')], {'x': 1}, [[1, 2, 3]], '1 2 3', True, [1, 2, 3, 4],
    [1, 2, True], ['1', '2', '3'],
)  # fmt: skip
POINTS = np.random.default_rng(0).uniform(-40, 40, (200, 4)).astype('<f4')


def annotations() -> list[tuple[str, bytes, str]]:
    """(suffix, content, word the message must hold)"""
    found = []

    def add(word: str, content: object) -> None:
        text = content if isinstance(content, (bytes, str)) else yaml.dump(content)
        found.append(('.yaml', text if isinstance(text, bytes) else text.encode(), word))

    for key in ('angle', 'center', 'extent', 'location'):
        for value in WRONG_NUMBERS:
            broken = copy.deepcopy(GOOD)
            broken['vehicles'][7][key] = value
            add(f'vehicles.7.{key}', broken)
        broken = copy.deepcopy(GOOD)
        del broken['vehicles'][7][key]
        add(f'vehicles.7.{key}', broken)
    for value in (*WRONG_NUMBERS, [1] * 5, [1] * 7, [[1] * 4] * 4, np.zeros((4, 4)), np.eye(3)):
        add('lidar_pose', GOOD | dict(lidar_pose=value))
    for value in ([0, 1, 1], [-1, 1, 1], [1, 1, -0.0]):
        broken = copy.deepcopy(GOOD)
        broken['vehicles'][7]['extent'] = value
        add('vehicles.7.extent', broken)
    add('lidar_pose', dict(vehicles={}))
    for value in ([10**400] * 6, [1, 2, 3, 0, 0, 10**30]):
        add('', GOOD | dict(lidar_pose=value))
    add('vehicles.7.location', GOOD | dict(vehicles={7: OBJECT | dict(location=[10**400, 0, 0])}))
    add('vehicles', GOOD | dict(vehicles={float('inf'): OBJECT}))
    for scalar in ('!!int ""', '!!bool foo', '!!timestamp foo', '!!float ""'):
        add('YAML', f'lidar_pose: {scalar}\nvehicles: {{}}\n')
    for value in (
        [1, 2],
        'many',
        3,
        {7: None},
        {7: [1]},
        {'car': OBJECT},
        {2**70: OBJECT},
        {7.9: OBJECT},
        {True: OBJECT},
        {'7.0': OBJECT},
        {None: OBJECT},
    ):
        add('vehicles', GOOD | dict(vehicles=value))
    add('vehicles', dict(lidar_pose=GOOD['lidar_pose']))
    for value in (None, 3, ['Car'], {'name': 'Car'}):
        add('vehicles.7.obj_type', GOOD | dict(vehicles={7: OBJECT | dict(obj_type=value)}))
    whole = yaml.dump(GOOD)
    for text in ('', '[]', 'words', '- 1', 'a: [', 'a: b: c', '{', '\t', 'a: "', '%YAML 9', '\x00'):
        add('', text)
    for tag in (
        '!!python/object/apply:os.system ["true"]',
        '!!python/object/new:os.system ["true"]',
        '!!python/name:os.system ""',
        '!!python/module:os ""',
        '!!python/object:os.system {}',
        '!!python/object/apply:numpy.core.multiarray._reconstruct [1]',
        '!!python/object/apply:numpy.core.multiarray._reconstruct {state: [1, [9999999, 9999999]]}',
        '!!python/object/apply:numpy.core.multiarray.scalar [1, 2]',
        '!!python/object/apply:numpy.dtype [O]',
        '!!python/object/apply:numpy.dtype {args: [no], state: 1}',
    ):
        add('YAML', f'lidar_pose: {tag}\nvehicles: {{}}\n')
    for cut in (*range(5, 60, 6), len(whole) // 2):
        add('', whole[:cut])
    add('YAML', b'\xff\xfe\x00garbage\x80')
    add('YAML', np.random.default_rng(1).bytes(400))
    return found


def clouds(folder: Path) -> list[tuple[str, bytes, str]]:
    found = []

    def add(suffix: str, word: str, content: bytes) -> None:
        found.append((suffix, content, word))

    raw = POINTS.tobytes()
    add('.bin', 'empty', b'')
    for cut in (1, 7, 15, 17, 100, 3199):
        add('.bin', 'multiple', raw[:cut] + b'\0' * (cut % 16 == 0))
    numbers = b'1.0 2.0 3.0 0.5\n' * 50
    for text in (numbers, b'<html><body>404: there is no such file.</body></html>   ' * 8):
        add('.bin', 'text', text[: len(text) // 16 * 16])
    add('.bin', 'coordinates', np.full((50, 4), 3e38, '<f4').tobytes())
    add('.bin', 'coordinates', POINTS.astype('<f8').tobytes())
    add('.bin', 'coordinates', POINTS.astype('>f4').tobytes())
    add('.bin', 'coordinates', np.random.default_rng(2).bytes(1600))
    for encoding in ('ascii', 'binary', 'binary_compressed'):
        write_pcd(folder / 'good.pcd', POINTS, encoding)
        good = (folder / 'good.pcd').read_bytes()
        add('.pcd', 'empty', b'')
        for key in (b'FIELDS', b'SIZE', b'TYPE', b'DATA'):
            without = b'\n'.join(line for line in good.split(b'\n') if not line.startswith(key))
            add('.pcd', key.decode(), without)
        for old, new, word in (
            (b'POINTS 200', b'POINTS 1000000000000', 'POINTS'),
            (b'POINTS 200', b'POINTS -1', 'POINTS'),
            (b'POINTS 200', b'POINTS many', 'POINTS'),
            (b'POINTS 200', b'POINTS 201', ''),
            (b'FIELDS x y z', b'FIELDS a b c', 'FIELDS'),
            (b'FIELDS x y z', b'FIELDS x y', 'FIELDS'),
            (b'SIZE 4 4 4 4', b'SIZE 4 4 4 3', 'SIZE'),
            (b'SIZE 4 4 4 4', b'SIZE 4 4 4 99999999999', 'SIZE'),
            (b'TYPE F F F F', b'TYPE F F F X', 'TYPE'),
            (b'COUNT 1 1 1 1', b'COUNT 1 1 1 999999999', 'COUNT'),
            (b'COUNT 1 1 1 1', b'COUNT 2 1 1 1', 'COUNT'),
            (b'DATA ', b'DATA zipped_', 'DATA'),
        ):
            add('.pcd', word, good.replace(old, new))
        add('.pcd', '', good[: len(good) - 700])
    header, _, _ = good.partition(b'DATA binary_compressed\n')
    bomb = header.replace(b' 200', b' 100000000') + b'DATA binary_compressed\n'
    sizes = np.array([1000, 1_600_000_000], dtype='<u4').tobytes()
    add('.pcd', 'POINTS', bomb + sizes + b'\xe0\xff\x00' * 333 + b'\0')
    add('.pcd', 'as a .pcd', good[:-400] + b'\xff' * 400)
    return found


def test_two_hundred_damaged_files(tmp_path):
    cases = annotations() + clouds(tmp_path)
    assert len(cases) >= 200
    POINTS.tofile(tmp_path / 'good.bin')
    read_point_cloud(str(tmp_path / 'good.bin'))  # compiles, the first time
    for i, (suffix, content, word) in enumerate(cases):
        path = tmp_path / f'{i:06d}{suffix}'
        path.write_bytes(content)
        read = read_annotation if suffix == '.yaml' else read_point_cloud
        start = time.process_time()
        with pytest.raises(DataFileError) as error:
            read(str(path))
            pytest.fail(f'case {i} was read: {content[:200]!r}')
        assert time.process_time() - start < 1
        message = str(error.value)
        assert message.startswith(str(path)) and len(message) > len(str(path)) + 10, message
        assert word in message, (content[:300], message)
        assert len(message) < 1000


def test_the_good_ones_are_read(tmp_path):
    for encoding in ('ascii', 'binary'):
        write_pcd(tmp_path / 'none.pcd', POINTS[:0], encoding)
        assert read_point_cloud(str(tmp_path / 'none.pcd')).shape == (0, 4)
    (tmp_path / 'a.yaml').write_text(yaml.dump(GOOD))
    for dialect in DIALECTS.values():
        assert len(read_annotation(str(tmp_path / 'a.yaml'), dialect).ids) == 1


def test_damaged_clouds_become_invalid_agents_with_one_warning_each(make_dataset, tmp_path):
    folder = write_scenario(tmp_path, frames=range(1), objects=2)
    target = folder / '2' / '000000'
    pipeline = [dict(type='LoadCooperativePoints', on_bad_cloud='drop'), *PIPELINE[2:]]
    cases = clouds(tmp_path)
    for wanted in ('.bin', '.pcd'):
        for old in folder.glob('2/*.*'):
            if old.suffix != '.yaml':
                old.unlink()
        target = target.with_suffix(wanted)
        target.touch()
        (tmp_path / 'infos.npz').unlink(missing_ok=True)
        dataset = make_dataset(tmp_path, num_history=0, pipeline=pipeline)
        for i, content in enumerate(content for suffix, content, _ in cases if suffix == wanted):
            target.write_bytes(content)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always')
                sample = dataset[0]['data_samples']
            assert [w.category for w in caught] == [UserWarning], i
            assert str(target) in str(caught[0].message)
            assert sample.agents.valid[:, 0].tolist() == [True, False, True, True]
            assert sample.num_points[1] == 0
