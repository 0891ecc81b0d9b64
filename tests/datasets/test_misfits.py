"""Files that can be read and say what is wrong: each is named with its agent and scenario."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.commands import run_main
from tests.layouts import DATASETS, rewrite
from tests.scenes import write_scenario
from tools import check_dataset as check_tool
from tools import create_data as create_tool
from turbotrain.datasets import V2XPnPDataset, build_infos, save_infos
from turbotrain.datasets.checking.checks import (
    CheckOptions,
    Finding,
    check_dataset,
    check_sample,
    ignore_list_of,
)
from turbotrain.datasets.checking.recognition import recognise_dataset
from turbotrain.datasets.readers import DIALECTS, DataFileError
from turbotrain.datasets.readers.yaml_loader import load_yaml

NAME = '2023-03-17-16-12-12_3_0'
AGENTS = ('-2', '-1', '1', '2')
FRAMES = range(0, 20, 5)
OFF = 'labels off the points'


@pytest.fixture(scope='module')
def layouts(tmp_path_factory) -> dict[str, Path]:
    """One scene as each dataset has it."""
    source = tmp_path_factory.mktemp('scene')
    write_scenario(source, frames=FRAMES, objects=14, seed=4)
    roots = dict(v2xpnp=source)
    for dataset in DATASETS[1:]:
        roots[dataset] = tmp_path_factory.mktemp('scene') / dataset
        rewrite(source, roots[dataset], dataset)
    return roots


@pytest.fixture
def root(layouts, tmp_path) -> Path:
    shutil.copytree(layouts['v2xpnp'], tmp_path / 'data')
    return tmp_path / 'data'


def check(root: Path, dataset: str = 'v2xpnp') -> list[Finding]:
    return check_dataset(str(root), ['train'], CheckOptions(dataset))


def edit(root: Path, agent: str, change: Callable[[dict], None], frames: str = '*') -> None:
    for path in root.glob(f'train/*/{agent}/{frames}.yaml'):
        content = load_yaml(path.read_bytes())
        change(content)
        content['lidar_pose'] = np.asarray(content['lidar_pose']).tolist()
        path.write_text(yaml.dump(content, Dumper=yaml.CSafeDumper))


def run(tool, monkeypatch, *words: object) -> object:
    return run_main(tool, monkeypatch, *words, '--workers', 1)


@pytest.mark.parametrize('dataset', DATASETS)
def test_good_files_are_recognised_and_nothing_is_found(layouts, dataset, monkeypatch, capsys):
    found, why = recognise_dataset(str(layouts[dataset]), ['train'])
    # V2X-Real differs from V2XPnP-Seq in its folders alone, and this scene has none of them.
    assert found == dict(v2xreal='v2xpnp', opv2v='v2xset').get(dataset, dataset)
    assert why
    assert run(check_tool, monkeypatch, layouts[dataset], '--class-map', 'v2xreal3') == 0
    out = capsys.readouterr().out
    assert f'read as {found}' in out and 'nothing found' in out


@pytest.mark.parametrize('dataset', DATASETS)
def test_another_dialect_is_told_at_once(layouts, dataset):
    root = str(layouts[dataset])
    for other in ('v2xpnp', 'opv2v', 'v2v4real'):
        found = check_sample(root, 'train', CheckOptions(other))
        if DIALECTS[other] == DIALECTS[dataset]:
            assert found == []
            continue
        assert [(f.kind, f.severity) for f in found] == [('other dataset', 'error')] * 4
        assert [f.path for f in found] == [f'train/{NAME}/{agent}' for agent in AGENTS]
        assert all(f'expected files as {other}' in f.text and dataset in f.text for f in found)


def without_marks(content: dict) -> None:
    """What only one dataset writes, besides what is needed."""
    for key in ('infra', 'true_ego_pose'):
        content.pop(key, None)
    for entry in content['vehicles'].values():
        entry.pop('ass_id', None)


@pytest.mark.parametrize(('dataset', 'other'), [('v2v4real', 'v2xreal'), ('v2xpnp', 'v2v4real')])
def test_points_tell_the_frame_of_objects_where_no_key_does(layouts, tmp_path, dataset, other):
    root = tmp_path / 'data'
    shutil.copytree(layouts[dataset], root)
    edit(root, '*', without_marks)
    found = {f.path: f for f in check(root, other) if f.kind == OFF}
    assert set(found) == {f'train/{NAME}/{agent}' for agent in AGENTS}
    for finding in found.values():
        assert finding.severity == 'error' and dataset in finding.text, finding.text


def move(index: int, by: float) -> Callable[[dict], None]:
    return lambda c: c['lidar_pose'].__setitem__(index, c['lidar_pose'][index] + by)


def each(change: Callable[[dict], None]) -> Callable[[dict], None]:
    def all_of_them(content: dict) -> None:
        for entry in content['vehicles'].values():
            change(entry)

    return all_of_them


def mirror(content: dict) -> None:
    for i in (1, 3, 4):
        content['lidar_pose'][i] *= -1


def mirror_entry(entry: dict) -> None:
    entry['location'][1] *= -1
    entry['angle'][1] *= -1


def bury(entry: dict) -> None:
    entry['location'][2] -= 2.0


def double(content: dict) -> None:
    content['vehicles']['77'] = content['vehicles']['3']


def turn(entry: dict) -> None:
    entry['angle'][1] += 180.0


def swell(content: dict) -> None:
    content['vehicles']['2']['extent'] = [220.0, 90.0, 80.0]  # cm


WRONG = {
    # name: (change, agents, kind, words)
    'position': (move(0, 5.0), '1', OFF, ('moved by (',)),
    'position of a roadside unit': (move(1, -5.0), '-1', OFF, ('moved by (',)),
    'yaw': (move(4, 10.0), '2', OFF, ('turned by -',)),
    'yaw of a roadside unit': (move(4, -10.0), '-2', OFF, ('turned by ',)),
    'height': (move(2, 2.0), '1', 'labels off the ground', ('2.0 m below',)),
    'mirrored poses': (mirror, '1', OFF, ('y of the poses mirrored',)),
    'mirrored labels': (each(mirror_entry), '2', OFF, ('y of the labels mirrored',)),
    'buried': (each(bury), '-1', 'labels off the ground', ('2.0 m below',)),
    'doubled': (double, '2', 'doubled box', ('object 3',)),
    'reversed': (each(turn), '1', 'headings reversed', ('backwards',)),
    'centimetres': (swell, '-2', 'absurd size', ('440 x 180 x 160',)),
}


@pytest.mark.parametrize('name', WRONG)
def test_what_is_wrong_is_named_with_agent_and_scenario(root, name):
    change, agent, kind, words = WRONG[name]
    edit(root, agent, change)
    found = [f for f in check(root) if f.severity == 'error']
    assert {f.kind for f in found} == {kind}
    assert all(f.path.startswith(f'train/{NAME}/{agent}') for f in found), found
    assert all(word in f.text for f in found for word in words), found[0].text


@pytest.mark.parametrize('agents', ['1', '*'])
def test_mirrored_clouds(root, agents):
    for path in root.glob(f'train/*/{agents}/*.bin'):
        points = np.fromfile(path, '<f4').reshape(-1, 4) * np.float32([1, -1, 1, 1])
        points.tofile(path)
    found = check(root)
    assert {f.kind for f in found} == {OFF}
    assert len(found) == (1 if agents == '1' else 4)
    assert all('y of the clouds mirrored' in f.text for f in found)


def test_clouds_of_another_moment(root):
    """Nothing fits better: that is said."""
    for path in root.glob('train/*/1/*.bin'):
        np.fromfile(root / f'train/{NAME}/-2/000000.bin', '<f4').tofile(path)
    (finding,) = check(root)
    assert (finding.kind, finding.path) == (OFF, f'train/{NAME}/1')


def test_poses_of_labels_in_the_agents_own_frame(layouts, tmp_path):
    """Own labels move with a wrong pose; the others' show it."""
    root = tmp_path / 'data'
    shutil.copytree(layouts['v2v4real'], root)

    edit(root, '2', lambda c: c.update(lidar_pose=c['lidar_pose'] + 5.0 * np.eye(4, k=3)))
    found = [f for f in check(root, 'v2v4real') if f.kind == OFF]
    assert f'train/{NAME}/2' in {f.path for f in found}
    assert all(f.severity == 'error' and "other agents' do not" in f.text for f in found)


def test_headings_that_flip_and_single_boxes_off_the_ground(root):
    edit(root, '*', lambda c: c['vehicles']['5']['location'].__setitem__(2, 4.0))
    edit(root, '1', lambda c: turn(c['vehicles']['0']), frames='0000?0')
    found = check(root)
    assert {f.kind for f in found} == {'heading flips', 'object off the ground'}
    assert all(f.severity == 'warning' for f in found)
    assert 'object 0 flips 3 times' in next(f.text for f in found if f.kind == 'heading flips')


def test_one_object_under_two_ids_of_two_agents(root):
    edit(root, '-1', lambda c: c['vehicles'].__setitem__('99', c['vehicles'].pop('4')))
    (finding,) = check(root)
    assert (finding.kind, finding.severity) == ('two ids', 'warning')
    assert 'object 99' in finding.text and 'object 4' in finding.text


def test_doubled_and_absurd_boxes_can_be_left_out(root):
    edit(root, '2', double)
    edit(root, '-2', swell)
    ignore = ignore_list_of(check(root))
    assert ignore.objects == {
        f'train/{NAME}/{agent}/{frame:06d}.yaml#{key}'
        for agent, key in ((2, 77), (-2, 2))
        for frame in FRAMES
    }
    assert check_dataset(str(root), ['train'], CheckOptions(ignore=ignore)) == []


def test_no_ignore_list_for_what_has_one_cause(layouts, tmp_path, monkeypatch, capsys):
    """OPV2V's files read as V2XPnP-Seq's: every object is bad, and none must be left out."""
    root = tmp_path / 'data'
    shutil.copytree(layouts['opv2v'], root)
    fix = tmp_path / 'fix.json'
    words = (root, '--dataset', 'v2xpnp', '--fix-list', fix)
    assert run(check_tool, monkeypatch, *words) == 1
    out = capsys.readouterr().out
    for word in ('other dataset', 'opv2v', 'no labels', 'mostly bad', 'no ignore list', NAME):
        assert word in out, out
    assert not fix.exists()
    assert run(check_tool, monkeypatch, root, '--class-map', 'vehicle1') == 0
    code = run(create_tool, monkeypatch, 'v2xpnp', '--root-path', root)
    assert 'opv2v' in code and NAME in code
    assert not list(root.glob('*.npz*'))
    assert run(create_tool, monkeypatch, 'opv2v', '--root-path', root) == 0
    assert capsys.readouterr().err.count('warning') == 0


def test_creating_data_warns_of_labels_without_points(root, monkeypatch, capsys):
    edit(root, '-1', move(0, 5.0))
    assert run(create_tool, monkeypatch, 'v2xpnp', '--root-path', root) == 0
    assert f'warning: train/{NAME}/-1: {OFF}' in capsys.readouterr().err


def test_splits_without_labels_are_refused_everywhere(root):
    infos = build_infos(str(root), 'train')
    none = dict.fromkeys(['object_id', 'object_class', 'object_centre'], slice(0))
    none |= dict.fromkeys(['object_angle', 'object_extent'], slice(0))
    empty = {k: v[none[k]] if k in none else v for k, v in vars(infos).items() if k[0] != '_'}
    empty['object_begin'] = 0 * infos.object_begin
    save_infos(str(root / 'empty.npz'), type(infos)(**empty))
    with pytest.raises(DataFileError, match='no label'):
        V2XPnPDataset('empty.npz', str(root), pipeline=[])
    edit(root, '*', lambda c: c['vehicles'].clear())
    assert [(f.kind, f.path) for f in check(root)] == [('no labels', 'train')]
    with pytest.raises(DataFileError, match='16 clouds and not one label'):
        build_infos(str(root), 'train')
