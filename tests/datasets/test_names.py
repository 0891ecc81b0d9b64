"""Odd names of folders, files and keys: kept apart, or refused by a sentence that names them."""

import io
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tools.check_dataset
import tools.create_data
import tools.pack_dataset
from tests.commands import run_main
from tests.scenes import write_scenario
from turbotrain.commands import run_tool
from turbotrain.datasets import (
    IgnoreList,
    build_infos,
    load_ignore_list,
    load_infos,
    save_ignore_list,
    save_infos,
)
from turbotrain.datasets.packing import pack_dataset
from turbotrain.datasets.readers import DataFileError, scan_scenario
from turbotrain.datasets.truth_index import TruthIndex
from turbotrain.visualization import BEVScene, draw_bev
from turbotrain.visualization.reconstruction import draw_reconstruction
from turbotrain.whole_file import write_whole


@pytest.fixture(scope='module')
def plain(tmp_path_factory) -> Path:
    """A scenario of one agent and two frames."""
    root = tmp_path_factory.mktemp('plain')
    return write_scenario(root, name='a', agents=(1,), frames=range(0, 10, 5), objects=2)


def latin(text: str) -> str:
    """A name as the system gives it where it was written in Latin-1."""
    return os.fsdecode(text.encode('latin-1'))


@pytest.mark.parametrize(
    'name', [latin('straße'), latin('é' * 200), 'a\\..\\b'], ids=['short', 'long', 'backslashes']
)
def test_what_info_files_cannot_name_is_refused_by_name(name, plain, tmp_path, monkeypatch, capsys):
    root = tmp_path / 'data'
    for folder in (name, 'z'):
        shutil.copytree(plain, root / 'train' / folder)
    words = 'v2xpnp', '--root-path', root, '--workers', 1
    said = run_main(tools.create_data, monkeypatch, *words)
    assert said.startswith(f'error: {root}/train/{name}: expected a ')
    assert not list(root.glob('*.npz'))
    fix = tmp_path / 'fix.json'
    check = root, '--workers', 1, '--no-clouds', '--fix-list', fix, '--json', tmp_path / 'all.json'
    monkeypatch.setattr(sys, 'argv', ['', *map(str, check)])
    with pytest.raises(SystemExit) as ended:
        run_tool(tools.check_dataset.main)
    assert ended.value.code == 1 and 'bad scenario' in capsys.readouterr().out
    assert load_ignore_list(str(fix)).scenarios == {f'train/{name}'}
    assert run_main(tools.create_data, monkeypatch, *words, '--ignore-list', fix) == 0
    assert load_infos(str(root / 'v2xpnp_infos_train.npz')).scenarios.tolist() == ['z']


@pytest.mark.parametrize('place', ['data root', 'split'])
def test_folders_above_scenarios(place, plain, tmp_path):
    parts = (latin('ä'), 'train') if place == 'data root' else ('data', latin('ä'))
    shutil.copytree(plain, tmp_path.joinpath(*parts, 'a'))
    with pytest.raises(DataFileError, match='expected a path in UTF-8'):
        build_infos(str(tmp_path / parts[0]), parts[1])


def test_other_names_are_kept_apart(plain, tmp_path):
    names = sorted([
        'x' * 255, 'x' * 240, 'é' * 120, 'straße', 'M\u00fcnchen', 'Mu\u0308nchen', 'a\nb',
        ' a', 'a ', 'a.yaml#7', r'$\x$', '%s{}', '<b>', '\U0001f600', 'A', 'b.npz',
    ])  # fmt: skip
    for name in names:
        shutil.copytree(plain, tmp_path / 'train' / name)
    infos = build_infos(str(tmp_path), 'train', parts_dir=str(tmp_path / 'parts'))
    save_infos(str(tmp_path / 'infos.npz'), infos)
    found = load_infos(str(tmp_path / 'infos.npz'))
    assert found.scenarios.tolist() == names
    for row, cloud in enumerate(found.cloud):
        assert (tmp_path / str(cloud)).is_file()
        assert str(cloud).split('/')[1] == names[found.scenario[row]]
    assert len(list((tmp_path / 'parts').iterdir())) == len(names)


@pytest.mark.parametrize(
    'agent', [' 1', '+1', '1_0', '1.0', '1e0', '１', '1234567890', '1 ', 'car']
)
def test_folders_of_annotations_that_are_no_agents(agent, plain, tmp_path):
    """They were passed over without a word."""
    scenario = tmp_path / 'train/a'
    shutil.copytree(plain, scenario)
    shutil.copytree(plain / '1', scenario / agent)
    with pytest.raises(DataFileError, match="expected an agent's number") as error:
        scan_scenario(str(scenario))
    assert error.value.path == str(scenario / agent)
    # What holds no frames is another matter.
    for path in (scenario / agent).glob('*.yaml'):
        path.unlink()
    assert {row.agent for row in scan_scenario(str(scenario))} == {1}


@pytest.mark.parametrize(
    ('splits', 'expected'),
    [
        (['train/'], ['v2xpnp_infos_train.npz']),
        (['train', 'val/'], ['v2xpnp_infos_train.npz', 'v2xpnp_infos_val.npz']),
        (['val', 'validate'], 'val and validate are the same split'),
        (['train', 'train/'], 'train and train are the same split'),
        (['train/a'], "names of folders, got 'train/a'"),
        (['.'], "names of folders, got '.'"),
    ],
)
def test_splits(splits, expected, plain, tmp_path, monkeypatch):
    for split in ('train', 'val', 'validate'):
        shutil.copytree(plain, tmp_path / split / 'a')
    words = 'v2xpnp', '--root-path', tmp_path, '--workers', 1, '--splits', *splits
    said = run_main(tools.create_data, monkeypatch, *words)
    if isinstance(expected, str):
        assert said == f'error: {tmp_path}: {said.partition(": ")[2].partition(": ")[2]}'
        assert expected in said and not list(tmp_path.glob('*infos*'))
    else:
        assert said == 0 and sorted(path.name for path in tmp_path.glob('*infos*')) == expected


@pytest.mark.parametrize('key', ['a#b', '7#', '#', 'x.yaml#7', 'a/1.yaml#b', 'a\nb', ''])
def test_keys_on_an_ignore_list(key, tmp_path):
    path = 'train/a#b/1/000010.yaml'
    save_ignore_list(str(tmp_path / 'a.json'), IgnoreList(objects=frozenset([f'{path}#{key}'])))
    assert load_ignore_list(str(tmp_path / 'a.json')).keys_by_annotation() == {path: {key}}


@pytest.mark.parametrize('encoding', ['utf-8', 'ascii', 'latin-1'])
def test_a_name_is_printed_on_any_terminal(encoding, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, 'stdout', out)
    run_tool(lambda: print(f'{latin("straße")} \U0001f600 done'))
    out.flush()
    assert b'done' in out.buffer.getvalue()


@pytest.mark.parametrize('title', [r'$\x$', '$a$b$', '$\\frac{', 'x' * 255])
def test_a_title_is_no_formula(title):
    cloud, view = np.zeros((1, 3)), (0, 0, 10, 10)
    seen = draw_reconstruction(
        [cloud], [np.zeros(1, dtype=bool)], [0], cloud, cloud, view, title, 200
    )
    for figure in (draw_bev(BEVScene(title, ()), view, (200, 100)), seen):
        figure.canvas.draw()


@pytest.mark.parametrize(
    'scenario', ['x' * 10**6, latin('straße'), '\ud800'], ids=['long', 'Latin-1', 'surrogate']
)
def test_predictions_of_a_scenario_that_nobody_knows(scenario):
    known = SimpleNamespace(index={}, dataset=SimpleNamespace(ann_file='infos.npz', mode='vc'))
    with pytest.raises(DataFileError) as error:
        TruthIndex.find(known, dict(scenario=scenario, frame=10**999, ego=-(10**4000)))
    assert f'scenario {scenario[:255]}, frame a huge integer' in str(error.value)
    assert len(str(error.value)) < 450


def test_what_a_store_cannot_name_is_named(plain, tmp_path):
    root, store = tmp_path / 'data', tmp_path / 'store'
    _packable(plain, root)
    (root / 'map').mkdir()
    for name in ('straße.pkl', latin('straße.pkl'), '\U0001f600.pkl'):
        path = root / 'map' / name
        path.touch()
        with pytest.raises(DataFileError, match=f'map/{name}: cannot be a key'):
            pack_dataset(str(root), str(store))
        path.unlink()
    shutil.move(root / 'train/a', root / 'train/straße')
    save_infos(str(root / 'v2xpnp_infos_train.npz'), build_infos(str(root), 'train'))
    with pytest.raises(DataFileError, match='train/straße/1/000000.bin: cannot be a key'):
        pack_dataset(str(root), str(store))
    assert [path.name for path in tmp_path.iterdir()] == ['data']


@pytest.mark.parametrize(
    ('root', 'store'),
    [('.', 'data.lmdb'), ('./', 'data.lmdb'), ('../data/.', 'data.lmdb'), ('train/..', 'data.lmdb'),
     ('../data/', 'data.lmdb'), ('', 'data.lmdb')],
)  # fmt: skip
def test_a_store_lies_beside_its_data_root(root, store, plain, tmp_path, monkeypatch):
    _packable(plain, tmp_path / 'data')
    monkeypatch.chdir(tmp_path / 'data')
    assert run_main(tools.pack_dataset, monkeypatch, root) == 0
    assert {path.name for path in tmp_path.iterdir()} == {'data', store}
    assert not list((tmp_path / 'data').glob('*lmdb*'))


def test_any_way_to_write_the_name_of_a_store(plain, tmp_path):
    root = _packable(plain, tmp_path / 'data')
    real = tmp_path / 'real'
    (tmp_path / 'link').symlink_to(real)
    for out in ('real', 'real/', 'real/.', 'link', latin('ä'), 'ä/../real'):
        assert pack_dataset(str(root), f'{tmp_path}/{out}') == 3
        assert not list(tmp_path.rglob('*partial*'))
    assert {path.name for path in tmp_path.iterdir()} == {'data', 'real', 'link', latin('ä')}
    for out in ('.', 'data', 'data/train/a/1/000000.bin'):
        with pytest.raises(DataFileError, match='is there already and is no LMDB'):
            pack_dataset(str(root), f'{tmp_path}/{out}')


def test_a_store_is_replaced_at_once(plain, tmp_path, monkeypatch):
    """Nothing between the old one and the new one is without either."""
    root = _packable(plain, tmp_path / 'data')
    old = tmp_path / 'store/data.mdb'
    old.parent.mkdir()
    old.write_bytes(b'old')

    def interrupted(source: Path, target: str) -> None:
        assert old.read_bytes() == b'old' and source.stat().st_size > 3
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', interrupted)
        with pytest.raises(KeyboardInterrupt):
            pack_dataset(str(root), str(old.parent))
    assert old.read_bytes() == b'old' and not list(tmp_path.glob('*partial'))
    pack_dataset(str(root), str(old.parent))
    assert old.stat().st_size > 3 and [path.name for path in old.parent.iterdir()] == ['data.mdb']


def _packable(plain: Path, root: Path) -> Path:
    shutil.copytree(plain, root / 'train/a')
    save_infos(str(root / 'v2xpnp_infos_train.npz'), build_infos(str(root), 'train'))
    return root


@pytest.mark.parametrize('name', ['.', 'folder', 'folder/..'])
def test_a_folder_is_no_file_to_write(name, tmp_path, monkeypatch):
    (tmp_path / 'folder').mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IsADirectoryError, match='folder' if name == 'folder' else None):
        write_whole(name, 'text')
    assert [path.name for path in tmp_path.iterdir()] == ['folder']
