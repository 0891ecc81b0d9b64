import argparse
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.commands import run_main
from tests.scenes import write_scenario
from tools import check_dataset as check_dataset_tool
from tools import create_data
from tools.create_data import at_least_one
from turbotrain.datasets import (
    IgnoreList,
    V2XPnPDataset,
    build_infos,
    load_ignore_list,
    save_ignore_list,
    save_infos,
)
from turbotrain.datasets.checking.checks import (
    CheckOptions,
    check_dataset,
    ignore_list_of,
)
from turbotrain.datasets.class_maps import CLASS_MAPS
from turbotrain.datasets.readers import DataFileError

NAME = '2023-03-17-16-12-12_3_0'
KNOWN = frozenset(name for raws in CLASS_MAPS['v2xreal3'].values() for name in raws)


def edit(path: Path, change) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def drop_frame(folder: Path) -> None:
    (folder / '2/000015.yaml').unlink()
    (folder / '2/000015.bin').unlink()


def jump(folder: Path) -> None:
    edit(folder / '2/000010.yaml', lambda c: c['lidar_pose'].__setitem__(0, 90.0))


def drift(folder: Path) -> None:
    edit(folder / '-1/000010.yaml', lambda c: c['lidar_pose'].__setitem__(1, -8.0))


def move_label(folder: Path) -> None:
    edit(folder / '2/000010.yaml', lambda c: c['vehicles'][0]['location'].__setitem__(2, 30.0))


def other_class(folder: Path) -> None:
    edit(folder / '-2/000010.yaml', lambda c: c['vehicles'][3].update(obj_type='Truck'))


def unknown_class(folder: Path) -> None:
    for path in folder.glob('*/*.yaml'):
        edit(path, lambda c: c['vehicles'][4].update(obj_type='Unicorn'))


def flat(folder: Path) -> None:
    edit(folder / '1/000005.yaml', lambda c: c['vehicles'][2]['extent'].__setitem__(1, 0.0))


def lose_annotation(folder: Path) -> None:
    for path in sorted(folder.glob('2/*.yaml'))[1:]:  # no gap is left
        path.unlink()


def backwards(folder: Path) -> None:
    def turn(content: dict) -> None:
        content['vehicles'][1]['angle'][1] += 180.0

    for path in folder.glob('*/*.yaml'):
        edit(path, turn)


def late(folder: Path) -> None:
    for path in sorted((folder / '-1').iterdir()):
        path.rename(path.with_stem(f'{int(path.stem) + 500:06d}'))


DAMAGE = {
    'bad annotation': lambda f: (f / '1/000010.yaml').write_text('lidar_pose: [1, 2'),
    'bad cloud': lambda f: (f / '-1/000010.bin').write_bytes(b'short'),
    'empty cloud': lambda f: np.full((9, 4), np.nan, '<f4').tofile(f / '1/000005.bin'),
    'no cloud': lambda f: (f / '2/000005.bin').unlink(),
    'bad scenario': lambda f: (f / '1/first.yaml').write_text('{}'),
    'agent without frames': lambda f: (f / '7').mkdir(),
    'no common frame': late,
    'frame gap': drop_frame,
    'pose jump': jump,
    'drift': drift,
    'labels apart': move_label,
    'two classes': other_class,
    'class not in map': unknown_class,
    'bad object': flat,
    'no annotation': lose_annotation,
    'yaw against motion': backwards,
}
ERRORS = {'bad annotation', 'bad cloud', 'bad scenario', 'bad object'}


@pytest.fixture
def root(tmp_path) -> Path:
    write_scenario(tmp_path, frames=range(0, 30, 5), objects=8)
    return tmp_path


def check(root: Path, *splits: str, **options) -> list:
    options = CheckOptions(class_names=KNOWN, **options)
    return check_dataset(str(root), list(splits or ['train']), options)


def test_nothing_is_found_in_good_files(root):
    assert check(root) == []


@pytest.mark.parametrize('damage', DAMAGE)
def test_each_damage_is_found_and_nothing_else(root, damage):
    DAMAGE[damage](root / 'train' / NAME)
    findings = check(root)
    kind = 'pose jump' if damage == 'drift' else damage
    # A frame whose annotation cannot be read is a gap too.
    others = {'frame gap'} if damage == 'bad annotation' else set()
    assert {f.kind for f in findings} - others == {kind}
    finding = next(f for f in findings if f.kind == kind)
    assert finding.severity == ('error' if kind in ERRORS else 'warning')
    assert finding.path.startswith(f'train/{NAME}')
    assert (root / finding.path.partition('#')[0]).exists()
    assert len(finding.text) > 10


def test_folders_that_are_no_agents(root):
    for name in ('--1', 'cameras', '1.5'):
        (root / 'train' / NAME / name).mkdir()
    assert check(root) == []


def test_maps_and_trajectories_are_read_too(root, tiny_set):
    shutil.copytree(tiny_set / 'map', root / 'map')
    shutil.copy(next(tiny_set.glob('trajectory_database*.pkl')), root)
    assert check(root) == []
    lanes, tracks = next((root / 'map').iterdir()), next(root.glob('trajectory_database*.pkl'))
    lanes.write_bytes(lanes.read_bytes()[:200])
    tracks.write_bytes(pickle.dumps({0: {7: dict(trajectory=np.ones((5, 4)))}}))
    found = check(root)
    # Any storage that can list will do.
    assert check(root, backend_args=dict(backend='local')) == found
    assert [(f.kind, f.severity, f.path) for f in found] == [
        ('bad map', 'error', f'map/{lanes.name}'),
        ('bad trajectories', 'warning', tracks.name),
    ]


def test_a_split_that_is_not_there(root):
    with pytest.raises(DataFileError, match='nowhere'):
        check(root, 'nowhere')


def test_one_scenario_in_two_splits(root):
    shutil.copytree(root / 'train', root / 'val')
    findings = check(root, 'train', 'val')
    assert [(f.kind, f.path) for f in findings] == [('in two splits', f'val/{NAME}')]


def test_the_ignore_list_makes_the_dataset_readable(root):
    write_scenario(root, name='2023-03-18-00-00-00_1_0', frames=range(0, 30, 5), objects=3)
    for kind in ('bad annotation', 'bad cloud', 'bad object'):
        DAMAGE[kind](root / 'train' / NAME)
    DAMAGE['bad scenario'](root / 'train/2023-03-18-00-00-00_1_0')
    with pytest.raises(DataFileError):
        build_infos(str(root), 'train')
    ignore = ignore_list_of(check(root))
    assert ignore == IgnoreList(
        scenarios=frozenset({'train/2023-03-18-00-00-00_1_0'}),
        annotations=frozenset({f'train/{NAME}/1/000010.yaml'}),
        clouds=frozenset({f'train/{NAME}/-1/000010.bin'}),
        objects=frozenset({f'train/{NAME}/1/000005.yaml#2'}),
    )
    # Only what is listed is lost, and nothing is left to fix.
    assert [f.kind for f in check(root, ignore=ignore)] == ['frame gap']
    whole = check(root, ignore=IgnoreList())
    assert ignore_list_of(whole).union(ignore) == ignore
    infos = build_infos(str(root), 'train', ignore=ignore)
    save_infos(str(root / 'infos.npz'), infos)
    pipeline = [dict(type='LoadCooperativePoints'), dict(type='PackCooperativeInputs')]
    dataset = V2XPnPDataset('infos.npz', str(root), ego='every', num_history=2, pipeline=pipeline)
    assert len(dataset) == 6 - 1 + 6
    row = infos.rows(0, [1], [5])[0, 0]
    own = infos.object_id[slice(*infos.object_begin[row : row + 2])]
    assert own.tolist() == [0, 1, 3, 4, 5, 6, 7]
    for i in range(len(dataset)):
        assert dataset[i]['data_samples'].scenario == NAME


@pytest.mark.parametrize(
    ('content', 'word'),
    [
        ('[]', 'format'),
        ('{"format": "turbotrain-ignore-list", "version": 7}', 'version'),
        ('{"format": "turbotrain-ignore-list", "version": 1, "clouds": 3}', 'clouds'),
        ('{', 'JSON'),
    ],
)
def test_damaged_ignore_lists(tmp_path, content, word):
    path = tmp_path / 'ignore.json'
    path.write_text(content)
    with pytest.raises(DataFileError, match=word):
        load_ignore_list(str(path))
    with pytest.raises(DataFileError, match=r'none\.json'):
        load_ignore_list(str(tmp_path / 'none.json'))


def test_ignore_lists_survive_the_disk(tmp_path):
    ignore = IgnoreList(frozenset('ab'), frozenset('c'), frozenset(), frozenset({'d#1'}))
    save_ignore_list(str(tmp_path / 'ignore.json'), ignore)
    assert load_ignore_list(str(tmp_path / 'ignore.json')) == ignore


@pytest.mark.parametrize('text', ['0', '-1', 'two', '1.5'])
def test_numbers_of_processes(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f'from 1 up, got {text}'):
        at_least_one(text)


def test_the_commands(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    write_scenario(root, 'validate', '2023-03-19-00-00-00_1_0', frames=range(0, 10, 5), objects=2)
    drop_frame(root / 'train' / NAME)
    DAMAGE['bad cloud'](root / 'train' / NAME)
    (root / 'train' / NAME / '1/000010.yaml').write_text('- 1')

    def run(tool, *words: object) -> object:
        return run_main(tool, monkeypatch, *words, '--workers', 1)

    assert run(check_dataset_tool, root, '--json', 'all.json', '--fix-list', 'fix.json') == 1
    assert {f['kind'] for f in json.loads((root / 'all.json').read_text())} == {
        'bad cloud', 'bad annotation', 'frame gap'
    }  # fmt: skip
    capsys.readouterr()
    words = '--ignore-list', 'fix.json', '--fix-list', 'again.json'
    assert run(check_dataset_tool, root, *words) == 0
    assert 'frame gap' in capsys.readouterr().out
    assert (root / 'again.json').read_text() == (root / 'fix.json').read_text()
    assert '000010.yaml' in run(create_data, 'v2xpnp', '--root-path', root)
    # What was read before the error is kept, and not read again.
    assert not list(root.glob('*.parts/*.npz'))
    assert run(create_data, 'v2xpnp', '--root-path', root, '--ignore-list', 'fix.json') == 0
    assert '22 annotations (1 without a cloud)' in capsys.readouterr().out
    assert sorted(path.name for path in root.glob('*.npz')) == [
        'v2xpnp_infos_train.npz', 'v2xpnp_infos_val.npz'
    ]  # fmt: skip
    assert not list(root.glob('*.parts'))
