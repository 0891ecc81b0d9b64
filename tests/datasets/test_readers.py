import json
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import yaml

from tests.scenes import write_scenario
from turbotrain.datasets import build_infos, load_infos, save_infos
from turbotrain.datasets.info_file import INFO_VERSION
from turbotrain.datasets.readers import (
    DataFileError,
    read_annotation,
    read_point_cloud,
    read_trajectories,
    read_vector_map,
)

GOOD = dict(
    lidar_pose=[1.0, 2.0, 3.0, 0.0, 1e-5, 0.0],
    vehicles={
        7: dict(
            angle=[0, 30, 0], center=[0, 0, 0.5], extent=[2, 1, 0.8], location=[1, 2, 3],
            obj_type='Car',
        )
    },
)  # fmt: skip


def write_yaml(path, content) -> str:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def test_annotation(tmp_path):
    annotation = read_annotation(write_yaml(tmp_path / 'a.yaml', GOOD))
    assert annotation.ids.tolist() == [7]
    assert annotation.types == ['Car']
    np.testing.assert_array_equal(annotation.centres, [[1, 2, 3.5]])
    np.testing.assert_allclose(annotation.world_from_agent[:3, 3], [1, 2, 3])
    assert annotation.world_from_agent[1, 0] == pytest.approx(np.deg2rad(1e-5))


def test_ids_may_be_text(tmp_path):
    content = dict(GOOD, vehicles={'7': GOOD['vehicles'][7], '-12': GOOD['vehicles'][7]})
    assert read_annotation(write_yaml(tmp_path / 'a.yaml', content)).ids.tolist() == [-12, 7]


def test_bad_objects_can_be_collected_or_skipped(tmp_path):
    good = GOOD['vehicles'][7]
    content = dict(GOOD, vehicles={7: good, 8: good | dict(extent=[1, 0, 1]), 9: None, 10: good})
    path = write_yaml(tmp_path / 'a.yaml', content)
    bad: dict[str, str] = {}
    assert read_annotation(path, bad=bad).ids.tolist() == [7, 10]
    assert list(bad) == ['8', '9']
    assert 'vehicles.8.extent' in bad['8'] and 'above 0' in bad['8']
    found = read_annotation(path, skip={'8', '9'})
    assert found.ids.tolist() == [7, 10] and found.centres.shape == (2, 3)
    with pytest.raises(DataFileError, match=r'vehicles\.9'):
        read_annotation(path, skip={'8'})


def test_exponents_without_a_point_are_floats(tmp_path):
    text = yaml.safe_dump(GOOD).replace('1.0e-05', '1e-05')
    assert '1e-05' in text
    found = read_annotation(write_yaml(tmp_path / 'a.yaml', text)).world_from_agent
    assert found[1, 0] == pytest.approx(np.deg2rad(1e-5))


def changed(path: tuple, value: object) -> dict:
    content = json.loads(json.dumps(GOOD))
    content['vehicles'] = {7: content['vehicles']['7']}
    target = content
    for key in path[:-1]:
        target = target[key]
    if value is None:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (changed(('lidar_pose',), None), ['lidar_pose', '6 finite numbers', 'missing']),
        (changed(('lidar_pose',), [1, 2, 3]), ['lidar_pose', '6 finite numbers']),
        (changed(('lidar_pose',), [1, 2, 3, 4, 5, float('nan')]), ['lidar_pose', 'finite']),
        (changed(('vehicles',), None), ['vehicles', 'missing']),
        (changed(('vehicles',), [1]), ['vehicles', 'mapping']),
        (changed(('vehicles', 7, 'extent'), None), ['vehicles.7.extent', '3 numbers']),
        (changed(('vehicles', 7, 'location'), 'here'), ['vehicles.7.location', 'here']),
        (changed(('vehicles', 7, 'obj_type'), 3), ['vehicles.7.obj_type', 'class name']),
        ('- 1', ['mapping']),
        ('a: [', ['YAML']),
        ('!!python/object/apply:os.system ["true"]', ['YAML']),
    ],
)
def test_bad_annotations_name_file_and_key(tmp_path, content, words):
    path = write_yaml(tmp_path / 'bad.yaml', content)
    with pytest.raises(DataFileError) as error:
        read_annotation(path)
    for word in [path, *words]:
        assert word in str(error.value)


def test_point_cloud_drops_rows_that_are_not_finite(tmp_path):
    rows = np.ones((5, 4), dtype='<f4')
    rows[1, 0], rows[2, 2], rows[3, 3] = np.nan, np.inf, np.nan
    rows.tofile(tmp_path / 'a.bin')
    points = read_point_cloud(str(tmp_path / 'a.bin'))
    np.testing.assert_array_equal(points, [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]])
    assert points.flags.writeable
    # The same through mmengine's file backends.
    other = read_point_cloud(str(tmp_path / 'a.bin'), backend_args=dict(backend='local'))
    np.testing.assert_array_equal(points, other)


@pytest.mark.parametrize(
    ('name', 'content', 'word'),
    [('a.bin', b'\0' * 30, '30 bytes'), ('a.bin', b'', 'empty'), ('a.ply', b'\0' * 16, '.bin')],
)
def test_bad_clouds_name_the_file(tmp_path, name, content, word):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=word) as error:
        read_point_cloud(str(path))
    assert str(path) in str(error.value)


def test_a_missing_cloud_names_the_file(tmp_path):
    with pytest.raises(DataFileError, match='nothing.bin'):
        read_point_cloud(str(tmp_path / 'nothing.bin'))


def test_trajectories(tmp_path):
    tracks = {0: OrderedDict({5: dict(trajectory=np.ones((3, 4)), trajectory_mask=np.ones(3))})}
    (tmp_path / 't.pkl').write_bytes(pickle.dumps(tracks))
    read = read_trajectories(str(tmp_path / 't.pkl'))
    np.testing.assert_array_equal(read[0][5]['trajectory'], np.ones((3, 4)))


@pytest.mark.parametrize(
    ('content', 'word'),
    [
        ([1], 'mapping of scenarios'),
        ({0: [1]}, r'objects under \[0\]'),
        ({0: {5: np.ones(3)}}, r'arrays under \[0\]\[5\]'),
        ({0: {5: dict(trajectory=np.ones((3, 4)))}}, 'trajectory_mask'),
        ({0: {5: dict(trajectory=np.ones((3, 3)), trajectory_mask=np.ones(3))}}, r'\(T, 4\)'),
        ({0: {5: dict(trajectory=np.ones((3, 4)), trajectory_mask=np.ones(2))}}, r'\(2,\)'),
    ],
)
def test_bad_trajectories_name_the_key(tmp_path, content, word):
    (tmp_path / 't.pkl').write_bytes(pickle.dumps(content))
    with pytest.raises(DataFileError, match=word):
        read_trajectories(str(tmp_path / 't.pkl'))


class Evil:
    def __reduce__(self):
        return (print, ('this must never be printed',))


@pytest.mark.parametrize('read', [read_trajectories, read_vector_map])
def test_pickles_that_run_code_are_refused_by_name(tmp_path, read, capsys):
    path = tmp_path / 'evil.pkl'
    path.write_bytes(pickle.dumps({0: Evil()}))
    with pytest.raises(DataFileError, match=r'builtins\.print is not allowed'):
        read(str(path))
    assert capsys.readouterr().out == ''


def test_infos_survive_the_disk_and_the_number_of_workers(tmp_path):
    write_scenario(tmp_path)
    write_scenario(tmp_path, name='2023-03-18-16-12-12_4_0', seed=1, agents=(1, -2))
    one, two = build_infos(str(tmp_path), 'train'), build_infos(str(tmp_path), 'train', workers=2)
    save_infos(str(tmp_path / 'infos.npz'), one)
    loaded = load_infos(str(tmp_path / 'infos.npz'))
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(two, name))
        np.testing.assert_array_equal(value, getattr(loaded, name))


def test_rows_and_tracks_that_are_not_there(tmp_path):
    write_scenario(tmp_path, frames=range(0, 20, 5))
    write_scenario(tmp_path, name='2023-03-18-16-12-12_4_0', seed=1, agents=(2,), frames=range(5))
    infos = build_infos(str(tmp_path), 'train')
    rows = infos.rows(0, np.array([1, 2, 9, -2]), np.array([-5, 0, 5, 400]))
    assert (rows >= 0).tolist() == [[False, True, True, False]] * 2 + [[False] * 4] + [
        [False, True, True, False]
    ]
    # Beyond the last frame of a scenario lies nothing, and not the next scenario's first frame.
    positions, known = infos.track(0, np.array([0, 3, 77]), np.arange(-5, 60, 5), np.array([1]))
    assert known.sum(axis=1).tolist() == [4, 4, 0]
    assert known[0].tolist() == [False] + [True] * 4 + [False] * 8
    assert not positions[~known].any()


def rewrite(path, **header) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    arrays['header'] = np.array(json.dumps(header))
    with path.open('wb') as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize(
    ('key', 'change'),
    [
        ('dataset', lambda a: np.array('kitti')),
        ('frame', lambda a: a[::-1]),
        ('frame', np.zeros_like),
        ('agent', lambda a: np.roll(a, 1)),
        ('object_begin', lambda a: np.sort(np.r_[a[:-1], 1])),
        ('object_begin', lambda a: a[np.r_[0, 2, 1, 3 : len(a)]]),
        ('world_from_agent', lambda a: a * np.nan),
        ('object_centre', lambda a: a + np.inf),
        ('object_angle', lambda a: a * np.nan),
        ('object_extent', lambda a: -a),
        ('object_class', lambda a: a + 100),
        ('cloud', lambda a: a[1:]),
    ],
)
def test_info_files_with_wrong_values_are_refused(tmp_path, key, change):
    write_scenario(tmp_path, frames=range(0, 10, 5), agents=(1, 2))
    path = tmp_path / 'infos.npz'
    save_infos(str(path), build_infos(str(tmp_path), 'train'))
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {key: change(arrays[key])})
    word = 'frame' if key == 'agent' else key
    with pytest.raises(DataFileError, match=f'{word}.*tools/create_data.py') as error:
        load_infos(str(path))
    assert str(path) in str(error.value)


def test_the_remedy_names_the_folder_of_any_storage(tmp_path):
    with pytest.raises(DataFileError, match='--root-path s3://bucket/v2xpnp'):
        load_infos('s3://bucket/v2xpnp/infos.npz', dict(backend='local'))


@pytest.mark.parametrize(
    ('damage', 'word'),
    [
        (lambda p: rewrite(p, format='turbotrain-infos', version=INFO_VERSION - 1), "'version'"),
        (lambda p: rewrite(p, format='other', version=INFO_VERSION), "'format'"),
        (lambda p: p.write_bytes(p.read_bytes()[:1000]), 'cannot be read'),
        (lambda p: p.write_bytes(pickle.dumps(Evil())), 'cannot be read'),
        (lambda p: p.unlink(), 'missing'),
    ],
)
def test_bad_info_files_name_file_and_remedy(tmp_path, damage, word, capsys):
    write_scenario(tmp_path, frames=range(0, 10, 5))
    path = tmp_path / 'infos.npz'
    save_infos(str(path), build_infos(str(tmp_path), 'train'))
    damage(path)
    with pytest.raises(DataFileError, match=word) as error:
        load_infos(str(path))
    assert str(path) in str(error.value)
    assert 'tools/create_data.py' in str(error.value)
    assert capsys.readouterr().out == ''
