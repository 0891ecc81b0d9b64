"""The chains of calibrations of DAIR-V2X-C and V2X-Seq, against numbers and against each other."""

import json
from pathlib import Path

import numpy as np
import pytest

from turbotrain.datasets.readers import DIALECTS, DataFileError
from turbotrain.datasets.readers.dair_calibration import (
    CORRECTIONS,
    read_offset,
    read_transform,
    read_unit_pose,
    world_from_vehicle,
)

GOLDEN = json.loads((Path(__file__).parents[1] / 'data/dair_calibrations.json').read_text())
KEYS = dict(dair_v2x_c='C', v2x_seq='S')


def chain(tmp_path: Path, case: dict, correction: str) -> np.ndarray:
    """``vehicle_from_unit`` of a case, through files as they lie on a disk."""
    content = dict(case, lidar_to_novatel=dict(transform=case['lidar_to_novatel']))
    paths = {}
    for name in ('lidar_to_novatel', 'novatel_to_world', 'virtuallidar_to_world'):
        paths[name] = tmp_path / f'{name}.json'
        paths[name].write_text(json.dumps(content[name]))
    vehicle = world_from_vehicle(
        read_transform(str(paths['lidar_to_novatel'])),
        read_transform(str(paths['novatel_to_world'])),
    )
    unit = read_unit_pose(str(paths['virtuallidar_to_world']))
    offset = read_offset('', 'system_error_offset', case['system_error_offset'])
    return CORRECTIONS[correction](vehicle, unit.world_from_unit, offset)


@pytest.mark.parametrize('dataset', KEYS)
@pytest.mark.parametrize('case', GOLDEN['cases'])
def test_the_golden_chains(dataset, case, tmp_path):
    found = chain(tmp_path, case, DIALECTS[dataset].correction)
    expected = case[f'vehicle_from_infrastructure_{KEYS[dataset]}']
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    point = np.array([*case['point_in_infrastructure'], 1.0])
    np.testing.assert_allclose(
        (found @ point)[:3], case[f'point_in_vehicle_{KEYS[dataset]}'], rtol=0, atol=1e-9
    )


@pytest.mark.parametrize(
    'case', [c for c in GOLDEN['cases'] if any(c['system_error_offset'].values())]
)
def test_the_other_set_s_correction_does_not_pass(case, tmp_path):
    """Were the two swapped, the golden chains above would fail: by more than half a metre."""
    one, other = (chain(tmp_path, case, DIALECTS[name].correction) for name in KEYS)
    assert np.linalg.norm(one[:3, 3] - other[:3, 3]) > 0.5
    for found, key in ((one, 'S'), (other, 'C')):
        with pytest.raises(AssertionError):
            np.testing.assert_allclose(
                found, case[f'vehicle_from_infrastructure_{key}'], rtol=0, atol=1e-9
            )


def test_the_axes_of_the_two_corrections():
    """Of a vehicle that heads along the world's y: x is forward to one set, right to the other."""
    turned = np.array([[0.0, -1, 0, 5], [1, 0, 0, 7], [0, 0, 1, 0], [0, 0, 0, 1]])
    plain = CORRECTIONS['world'](turned, np.eye(4), (0.0, 0.0))
    moved = {name: f(turned, np.eye(4), (1.0, 0.0)) - plain for name, f in CORRECTIONS.items()}
    np.testing.assert_allclose(moved['vehicle'][:3, 3], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(moved['world'][:3, 3], [0, -1, 0], atol=1e-12)


ROTATION = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def write(path: Path, **content) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_what_files_may_leave_empty(tmp_path):
    plain = dict(rotation=ROTATION, translation=[[1], ['2.5'], [3]])
    path = write(tmp_path / 'a.json', **plain, relative_error=dict(delta_x='', delta_y='0.5'))
    assert read_unit_pose(path).relative_error == (0.0, 0.5)
    for empty in ('', None):
        path = write(tmp_path / 'b.json', **plain, relative_error=empty)
        assert read_unit_pose(path).relative_error == (0.0, 0.0)
    assert read_unit_pose(write(tmp_path / 'c.json', **plain)).relative_error == (0.0, 0.0)
    nested, flat = write(tmp_path / 'd.json', transform=plain), write(tmp_path / 'e.json', **plain)
    np.testing.assert_array_equal(read_transform(nested), read_transform(flat))
    assert read_transform(flat)[:3, 3].tolist() == [1, 2.5, 3]


def test_rotations_become_orthogonal_and_others_are_refused(tmp_path):
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 3))
    rotation = (np.array(ROTATION) + 1e-5 * noise).tolist()
    found = read_transform(write(tmp_path / 'a.json', rotation=rotation, translation=[1, 2, 3]))
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(found[:3, :3], ROTATION, atol=2e-5)
    mirrored = np.diag([1.0, -1.0, 1.0]).tolist()
    for bad in ((np.array(ROTATION) * 1.01).tolist(), mirrored, [[1, 0], [0, 1]], 'x', None):
        path = write(tmp_path / 'b.json', rotation=bad, translation=[1, 2, 3])
        with pytest.raises(DataFileError, match="key 'rotation'") as error:
            read_transform(path)
        assert path in str(error.value)


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (dict(translation=[1, 2]), "key 'translation'"),
        (dict(translation=[1, 2, 'far']), "key 'translation'"),
        (dict(translation=[1, 2, 1e300]), "key 'translation'"),
        (dict(translation=[1, True, 3]), "key 'translation'"),
        (dict(relative_error=dict(delta_x=1)), "key 'relative_error.delta_y'"),
        (dict(relative_error=dict(delta_x=1, delta_y=1e9)), "key 'relative_error.delta_y'"),
        (dict(relative_error=[1, 2]), "key 'relative_error.delta_x'"),
        (dict(transform=[]), "key 'transform.rotation'"),
    ],
)  # fmt: skip
def test_damaged_calibrations_name_file_and_key(tmp_path, change, word):
    path = write(tmp_path / 'a.json', **(dict(rotation=ROTATION, translation=[1, 2, 3]) | change))
    with pytest.raises(DataFileError, match=word) as error:
        read_unit_pose(path)
    assert path in str(error.value)


def test_far_from_the_world_s_origin(tmp_path):
    """At some kilometres, as recordings are, chains keep a micrometre."""
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    far = turn.copy()
    far[:3, 3] = 3400.0, 2900.0, 21.0
    near_unit, far_unit = np.eye(4), np.eye(4)
    near_unit[:3, 3] = 30.0, 4.0, 5.0
    far_unit[:3, 3] = np.add(near_unit[:3, 3], far[:3, 3])
    for correct in CORRECTIONS.values():
        one, other = (correct(v, u, (0.4, -0.2)) for v, u in ((turn, near_unit), (far, far_unit)))
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
