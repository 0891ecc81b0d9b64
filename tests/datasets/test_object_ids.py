"""No object is lost because its id meets another's, in a file, among agents or on the way there."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.datasets.annotations import HEAD, OBJECT
from turbotrain.datasets import build_infos
from turbotrain.datasets.checking.checks import (
    CheckOptions,
    check_dataset,
    ignore_list_of,
)
from turbotrain.datasets.readers import (
    DIALECTS,
    DataFileError,
    read_annotation,
    scan_scenario,
)


def write(path: Path, *objects: tuple[str, str]) -> str:
    """An annotation of the given keys, each with more words for its object, 5 m apart."""
    rows = [
        f'  {key}: {{obj_type: Car, {OBJECT.format(5 * i)}{more}}}\n'
        for i, (key, more) in enumerate(objects)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + 'vehicles:\n' + ''.join(rows))
    return str(path)


@pytest.mark.parametrize(
    ('keys', 'expected'),
    [
        (('18', '000022'), [18, 22]),
        (('8', '010'), [8, 10]),
        (("'18'", '000022'), [18, 22]),
        (('-12', '12'), [-12, 12]),
        (('18', '0o23'), [18, 19]),
        (('7', '7'), 'key 7 stands twice'),
        (('7', "'7'"), "key '7' stands twice"),
        (('7', '007'), 'key 7 stands twice'),
        (('7', '+7'), 'key 7 stands twice'),
        (('18', '0x12'), 'key 18 stands twice'),
        (('7', "'07'"), 'vehicles.07.*object 7.*vehicles.7'),
        (('90', '1:30'), 'vehicles.1:30'),
        (('1000', '1_000'), 'vehicles.1_000'),
        (('3', '0b11'), 'vehicles.0b11'),
        (('1', 'yes'), 'vehicles.yes'),
        (('0', 'off'), 'vehicles.off'),
    ],
)
def test_two_cars_of_a_file_are_two_or_an_error_that_names_the_key(tmp_path, keys, expected):
    path = write(tmp_path / 'a.yaml', *((key, '') for key in keys))
    if isinstance(expected, list):
        found = read_annotation(path)
        assert found.ids.tolist() == expected and found.centres[:, 0].tolist() == [0, 5]
        return
    with pytest.raises(DataFileError, match=expected) as error:
        read_annotation(path)
    assert error.value.path == path


@pytest.mark.parametrize(
    ('text', 'key'),
    [
        (HEAD + HEAD + 'vehicles: {}\n', 'lidar_pose'),
        (HEAD + 'vehicles: {}\nvehicles: {}\n', 'vehicles'),
        (HEAD + f'vehicles: {{7: {{{OBJECT.format(1)}, extent: [1, 1, 1]}}}}\n', 'extent'),
        (HEAD + 'cam1: {k: [{a: 1, a: 1}]}\nvehicles: {}\n', 'a'),
        (HEAD + 'cam1:\n  a: 1\n  b: 2\n  "a": 3\nvehicles: {}\n', 'a'),
    ],
)
def test_no_mapping_repeats_a_key(tmp_path, text, key):
    (tmp_path / 'a.yaml').write_text(text)
    with pytest.raises(DataFileError, match=f'key {key!r} stands twice.*line'):
        read_annotation(str(tmp_path / 'a.yaml'))


def test_keys_are_not_merged_in_silence(tmp_path):
    text = HEAD + f'a: &a {{{OBJECT.format(1)}}}\nvehicles: {{7: {{<<: *a, obj_type: Car}}}}\n'
    (tmp_path / 'a.yaml').write_text(text)
    with pytest.raises(DataFileError, match='merge keys'):
        read_annotation(str(tmp_path / 'a.yaml'))


def test_numbers_are_those_of_yaml_1_2(tmp_path):
    text = HEAD.replace('0, 0, 1.9', '010, +1.5e1, .5') + 'vehicles: {}\n'
    (tmp_path / 'a.yaml').write_text(text)
    found = read_annotation(str(tmp_path / 'a.yaml')).world_from_agent
    np.testing.assert_array_equal(found[:3, 3], [10, 15, 0.5])
    for wrong in ('1_000', '1:30', '0b11', 'yes', '.inf', '.NaN', '2023-03-17'):
        (tmp_path / 'a.yaml').write_text(text.replace('010', wrong))
        with pytest.raises(DataFileError, match='lidar_pose'):
            read_annotation(str(tmp_path / 'a.yaml'))


def test_association_ids_that_meet_in_a_file(tmp_path):
    dialect = DIALECTS['v2v4real']
    shared = [('3', ', ass_id: 9'), ('4', ', ass_id: 9'), ('9', '')]
    bad: dict[str, str] = {}
    path = write(tmp_path / 'a.yaml', *shared)
    assert read_annotation(path, dialect, bad=bad).ids.tolist() == [9]
    assert list(bad) == ['4', '9'] and all('vehicles.3' in text for text in bad.values())
    with pytest.raises(DataFileError, match=r'vehicles\.4.*object 9'):
        read_annotation(path, dialect)
    # Alone, an object is never one that the agents share.
    lone = [('3', ', ass_id: -1'), ('4', ', ass_id: 103'), ('-1', ', ass_id: -1'), ('103', '')]
    path = write(tmp_path / 'a.yaml', *lone[:3])
    assert len(set(read_annotation(path, dialect, agent=1).ids.tolist())) == 3
    path = write(tmp_path / 'a.yaml', lone[0], lone[3])
    assert len(set(read_annotation(path, dialect, agent=1).ids.tolist())) == 2


def test_association_ids_that_meet_among_agents(tmp_path):
    """250 + 100 of one agent was 150 + 200 of another, and both were 350 of all."""
    seen = []
    for agent in (0, 1, 2, -1, -2, 10**9 - 1, 1 - 10**9):
        keys = [*range(0, 400, 10), -1, 2**30 - 1, 1 - 2**30]
        path = write(tmp_path / 'a.yaml', *((str(key), ', ass_id: -1') for key in keys))
        found = read_annotation(path, DIALECTS['v2v4real'], agent=agent).ids.tolist()
        assert found == read_annotation(path, DIALECTS['v2v4real'], agent=agent).ids.tolist()
        seen.append(found)
    path = write(tmp_path / 'a.yaml', *((str(k), f', ass_id: {k}') for k in (0, 350, 10**18)))
    seen.append(read_annotation(path, DIALECTS['v2v4real'], agent=1).ids.tolist())
    assert seen[-1] == [0, 350, 10**18]
    every = list(itertools.chain(*seen))
    assert len(set(every)) == len(every)
    with pytest.raises(DataFileError, match='of that size'):
        read_annotation(write(tmp_path / 'a.yaml', (str(2**30), ', ass_id: -1')),
                        DIALECTS['v2v4real'])  # fmt: skip


def test_every_object_is_written_or_reported(tmp_path):
    scenario = tmp_path / 'train/s'
    for frame, keys in enumerate((('7', '8'), ('18', '000022'), ('7', "'07'"), ('7', '7'))):
        write(scenario / f'1/{frame:06d}.yaml', *((key, '') for key in keys))
    findings = check_dataset(str(tmp_path), ['train'], CheckOptions())
    errors = {(f.kind, f.path) for f in findings if f.severity == 'error'}
    assert errors == {
        ('bad object', 'train/s/1/000002.yaml#07'), ('bad annotation', 'train/s/1/000003.yaml')
    }  # fmt: skip
    with pytest.raises(DataFileError, match='000002.yaml'):
        build_infos(str(tmp_path), 'train')
    infos = build_infos(str(tmp_path), 'train', ignore=ignore_list_of(findings))
    assert infos.object_id.tolist() == [7, 8, 18, 22, 7]


@pytest.mark.parametrize(('one', 'other'), [('1', '01'), ('0', '-0'), ('-1', '-001')])
def test_two_folders_of_one_agent(tmp_path, one, other):
    """Even where they have no frame in common."""
    for frame, agent in enumerate((one, other)):
        folder = tmp_path / 'train/s' / agent
        folder.mkdir(parents=True)
        (folder / f'{frame:06d}.yaml').write_text(yaml.safe_dump(dict(vehicles={})))
    with pytest.raises(DataFileError, match='one folder per agent') as error:
        scan_scenario(str(tmp_path / 'train/s'))
    assert f"'{one}'" in str(error.value) or f"'{other}'" in str(error.value)
    findings = check_dataset(str(tmp_path), ['train'], CheckOptions())
    assert [(f.kind, f.severity) for f in findings] == [('bad scenario', 'error')]
