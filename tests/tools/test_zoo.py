"""The zoo's files agree with its configs, with each other and with what was measured."""

import importlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def zoo(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools/benchmark')
    return importlib.import_module('zoo')


@pytest.fixture
def copy(tmp_path) -> Path:
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    shutil.copy(ROOT / 'model-index.yml', tmp_path)
    (tmp_path / 'docs').mkdir()
    for path in (*(ROOT / 'docs').glob('benchmark.*'), ROOT / 'docs/zoo.md'):
        shutil.copy(path, tmp_path / 'docs')
    return tmp_path


def test_writing_the_zoo_anew_changes_nothing(zoo, copy):
    assert zoo.write_zoo(copy) == []  # else: python tools/benchmark/zoo.py


def test_what_is_missing_or_wrong_is_mended(zoo, copy):
    for name in ('model-index.yml', 'docs/zoo.md'):
        text = (copy / name).read_text()
        changed = text.replace('v2vnet_v2xpnp', 'v2vnet_v2xpqp')
        assert changed != text
        (copy / name).write_text(changed)
    assert len(zoo.write_zoo(copy)) == 2
    for name in ('model-index.yml', 'docs/zoo.md'):
        assert (copy / name).read_text() == (ROOT / name).read_text()


def test_a_method_without_a_collection_is_named(zoo, copy):
    path = copy / 'configs/benchmark/mini/taught_mini_v2xpnp.py'
    path.write_text("_base_ = './f-cooper_mini_v2xpnp.py'\n")
    with pytest.raises(ValueError, match="no collection has 'taught'"):
        zoo.index_text(copy)


def test_the_index_lists_every_config_with_its_paper(zoo):
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    listed = [model['Config'] for model in index['Models']]
    there = [str(path.relative_to(ROOT)) for path in (ROOT / 'configs/benchmark').rglob('*.py')]
    assert sorted(listed) == sorted(there)
    names = [model['Name'] for model in index['Models']]
    assert len(set(names)) == len(names)
    papers = {collection['Name']: collection['Paper'] for collection in index['Collections']}
    for model in index['Models']:
        paper = papers[model['In Collection']]
        assert paper['Title'] and paper['URL'].startswith('https://arxiv.org/abs/')
        assert model['Metadata']['Parameters'] > 1e5


def test_results_reach_the_readme_and_the_index(zoo, copy):
    figures = {
        'AP@0.3/vehicle': 61.0, 'AP@0.5/vehicle': 47.12, 'AP@0.7/vehicle': 20.0,
        'ADE': 2.4, 'FDE': 4.3, 'MR': 39.6, 'EPA': 26.96, 'message_bytes': 524288.0,
        'parameters': 356756, 'seconds_per_sample': 0.1, 'seconds_per_iteration': 0.4,
    }  # fmt: skip
    alone = figures | {'AP@0.5/vehicle': 30.0, 'EPA': None, 'message_bytes': 0.0}
    run = dict(
        command='python it', iterations=5, seed=3, versions=dict(torch='2'), hardware='a machine',
        date='today', methods={'f-cooper': figures, 'no-fusion': alone},
    )  # fmt: skip
    (copy / 'docs/benchmark.json').write_text(json.dumps(dict(modes=dict(vc=run))))
    zoo.write_zoo(copy)
    (row,) = [
        line
        for line in (copy / 'docs/zoo.md').read_text().splitlines()
        if line.startswith('| [f-cooper]')
    ]
    assert '| 524.3 kB | – / – | 47.1 / 27.0 |' in row
    models = yaml.safe_load((copy / 'model-index.yml').read_text())['Models']
    with_results = [model for model in models if 'Results' in model]
    model, other = sorted(with_results, key=lambda model: model['Name'])
    assert model['Name'] == 'f-cooper_mini_v2xpnp'
    # What was not measured is left out.
    assert [result['Task'] for result in other['Results']] == ['3D Object Detection']
    assert [result['Task'] for result in model['Results']] == [
        '3D Object Detection', 'Motion Forecasting',
    ]  # fmt: skip
    assert model['Results'][0]['Metrics']['AP@0.5/vehicle'] == 47.12
    page = (copy / 'docs/benchmark.md').read_text()
    for words in (
        '5 iterations, seed 3; torch 2; a machine; today.',
        '| f-cooper | 61.0 | 47.1 | 20.0 | – |',
        'over no-fusion, AP@0.5 of vehicles: +17.1 (f-cooper) to +17.1 points (f-cooper)',
        '| 524.3 kB | 357 k | 100 | 400 |',
    ):
        assert words in page


def test_reported_numbers_are_those_of_the_spec(zoo):
    """Two of the few that notes on V2XPnP's paper give, and none where they give none."""
    text = (ROOT / 'docs/zoo.md').read_text()
    assert '| v2xvit | v2v | 64.6 | 1.68 | 3.13 | 39.8 | 36.7 |' in text
    assert '| late-fusion | vc | 58.1 | 1.59 | 2.82 | 32.4 | 33.0 |' in text
    assert '| v2vnet |' not in text
