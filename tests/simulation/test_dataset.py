"""A set depends on its options only, and never looks complete when it is not."""

import hashlib
import shutil
from dataclasses import replace

import pytest

from tests.commands import run_main
from tools import simulate
from turbotrain.datasets import build_infos
from turbotrain.errors import SettingError
from turbotrain.simulation import (
    DAIR_LAYOUTS,
    PRESETS,
    SensorOptions,
    SetOptions,
    rewrite_as_dair,
    simulate_dataset,
    sumo_programs,
)
from turbotrain.simulation import dataset as dataset_module
from turbotrain.simulation.dataset import plan_scenarios

from .tiny import TINY


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob('*')
        if path.is_file()
    }


def test_same_bytes_with_any_number_of_workers(tiny_set, tmp_path):
    simulate_dataset(tmp_path / 'again', TINY, workers=1)
    assert digests(tmp_path / 'again') == digests(tiny_set)


@pytest.mark.parametrize('layout', DAIR_LAYOUTS)
def test_a_layout_is_there_whole_or_not_at_all(layout, tiny_set, tmp_path, monkeypatch):
    def copied(out, *options):
        shutil.copytree(tiny_set, out)
        return dict(scenarios={'one': 'four_way'})

    monkeypatch.setattr(simulate, 'simulate_dataset', copied)
    out, rewrite = tmp_path / 'set', simulate.rewrite_as_dair
    words = '--layout', layout, '--out', out
    with monkeypatch.context() as patch:
        patch.setattr(simulate, 'rewrite_as_dair', lambda *args: (rewrite(*args), 1 / 0))
        with pytest.raises(ZeroDivisionError):
            run_main(simulate, patch, *words)
    assert not [*out.iterdir()] and [path.name for path in tmp_path.iterdir()] == ['set']
    assert run_main(simulate, monkeypatch, *words) == 0
    infos = build_infos(str(out), 'train', layout)
    assert len(infos.scenarios) == 1 and set(infos.agent.tolist()) == {1, -1}
    assert (infos.cloud != '').all() and len(infos.object_id) > 50
    with pytest.raises(FileExistsError, match='not empty; choose another folder'):
        run_main(simulate, monkeypatch, *words)


def test_plan_names_and_places():
    plans = plan_scenarios(SetOptions())
    assert len({plan.name for plan in plans}) == len(plans) == 19
    assert len({(plan.kind == 'corridor', plan.offset) for plan in plans}) == len(plans)
    assert {plan.kind for plan in plans} == {'four_way', 'tee', 'corridor'}
    for plan in plans:
        assert plan.name.startswith('2023-04-07-') == (plan.kind == 'corridor')
    other = plan_scenarios(replace(SetOptions(), seed=1))
    assert [plan.name for plan in other] != [plan.name for plan in plans]


def test_midi_trains_on_no_scenario_of_mini():
    """A trunk that was trained on midi may be tested on mini."""
    mini, midi = (plan_scenarios(PRESETS[name]) for name in ('mini', 'midi'))
    assert sum(plan.split == 'train' for plan in midi) == 60
    for split in ('val', 'test'):
        counts = [sum(plan.split == split for plan in plans) for plans in (mini, midi)]
        assert counts[0] < counts[1]
    sources = [{(plan.seed, plan.index) for plan in plans} for plans in (mini, midi)]
    assert not sources[0] & sources[1]
    assert len({(plan.kind == 'corridor', plan.offset) for plan in midi}) == len(midi)


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='not a simulated set'):
        simulate_dataset(tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.txt']


def test_a_killed_run_does_not_stand_in_the_way(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    (tmp_path / '.partial/train').mkdir(parents=True)
    (tmp_path / 'summary.json.partial').touch()
    monkeypatch.setattr(dataset_module, '_run', stop)
    with pytest.raises(KeyboardInterrupt):
        simulate_dataset(tmp_path, TINY)
    assert list(tmp_path.iterdir()) == []


def test_what_was_made_of_an_old_set_goes_with_it(tmp_path):
    old, new = tmp_path / 'set', tmp_path / 'set/.partial'
    (new / 'train').mkdir(parents=True)
    (new / 'summary.json').touch()
    for name in ('v2xpnp_infos_train.npz', 'objects.npz', 'thesis.txt'):
        (old / name).touch()
    dataset_module._publish(new, old)
    assert sorted(path.name for path in old.iterdir()) == ['summary.json', 'thesis.txt', 'train']


def test_missing_sumo_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__('sys').modules, 'sumo', None)
    with pytest.raises(sumo_programs.SumoError, match='pip install eclipse-sumo'):
        simulate_dataset(tmp_path / 'set', TINY)
    assert not (tmp_path / 'set').exists()


def test_failing_sumo_program_is_said():
    with pytest.raises(sumo_programs.SumoError, match='netconvert ended with code'):
        sumo_programs.run_sumo_program('netconvert', {'node-files': 'nowhere.xml'})


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'seed': -1}, 'seed'),
        ({'corridors': (1, 2)}, 'corridors'),
        ({'intersections': (0, 0, 0), 'corridors': (0, 0, 0)}, 'at least one scenario'),
    ],
)
def test_set_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        SetOptions(**options)


@pytest.mark.parametrize('options', [{'frame_stride': 0}, {'beam_step': 0}, {'duration': 0.3}])
def test_sensor_options_are_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SensorOptions(**options)


def test_scenarios_too_long_for_their_numbers_are_refused(tmp_path):
    """Frames of the next scenario would be written over them."""
    source = tmp_path / 'train'
    for agent in ('1', '-1'):
        (source / 'scenario' / agent).mkdir(parents=True)
        for frame in (990, 1000):
            (source / f'scenario/{agent}/{frame:06d}.yaml').touch()
    with pytest.raises(SettingError, match='scenario: frame 001000; v2x_seq numbers'):
        rewrite_as_dair(tmp_path, tmp_path / 'out', 'v2x_seq')
