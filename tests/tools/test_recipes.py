"""Recipes: what their stages hand on, and that what is done is not done again."""

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from tools.costs.step_settings import Setting, measure, settings
from tools.costs.step_times import Step
from tools.studies import label_efficiency
from turbotrain.commands import ROOT
from turbotrain.datasets import V2XPnPDataset
from turbotrain.recipes import energy
from turbotrain.recipes.runs import Run, run_all
from turbotrain.recipes.settings import Settings, settings_of
from turbotrain.recipes.stages import fingerprint, recipe_paths, stages_of

RECIPES = [*recipe_paths().values(), *sorted((ROOT / 'configs/recipes').glob('*.py'))]
UNUSED = Settings(Path('unused'))


@pytest.mark.parametrize('path', RECIPES, ids=[f'{p.parent.name}/{p.stem}' for p in RECIPES])
def test_each_stage_gets_all_it_needs_from_the_one_before(path):
    before: set[str] = set()
    for stage in stages_of(path, 0, UNUSED):
        model = MODELS.build(stage.config.model)
        own = {name.split('.')[0] for name in model.state_dict()}
        hooks = stage.config.custom_hooks
        if before:
            (hook,) = hooks
            assert own - before == set(hook.fresh)
            assert set(hook.get('anew', ())) <= own & before
            dropped = {'reconstruction_head', 'mask_token'}
            assert before - own <= dropped
        else:
            assert not hooks and stage.config.load_from is None
        before = own


def test_budgets_are_in_proportion_to_the_papers():
    epochs = {
        name: sum(stage.epochs for stage in stages_of(path, 0, UNUSED))
        for name, path in recipe_paths().items()
    }
    assert epochs.pop('manual') == 120
    assert set(epochs.values()) == {45}
    stages = list(stages_of(recipe_paths()['manual'], 3, UNUSED))
    for stage in stages:
        assert stage.config.train_cfg.max_iters == 32 * stage.epochs
    # Each sees samples in an order, and augmented in a way, of its own.
    assert [stage.config.randomness.seed for stage in stages] == [3003, 2003, 1003, 3]


def test_full_and_mini_have_the_same_stages():
    for name, path in recipe_paths().items():
        mini, full = (Config.fromfile(p) for p in (path, ROOT / f'configs/recipes/{name}.py'))
        assert mini.stages.keys() == full.stages.keys()
        for key, stage in mini.stages.items():
            config = full.stages[key].config
            assert stage.config.replace('mini/', '').replace('_mini_', '_') == config


def test_a_frozen_module_stays_as_it_is(data_root):
    stages = {stage.name: stage for stage in stages_of(recipe_paths()['manual'], 0, UNUSED)}
    cfg = stages['S2'].config
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    settings = {**cfg.train_dataloader.dataset, 'data_root': str(data_root)}
    settings.pop('type')
    data = model.data_preprocessor(pseudo_collate([V2XPnPDataset(**settings)[0]]), training=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    optimizer.step()
    changed = {k.split('.')[0] for k, v in model.state_dict().items() if (v != before[k]).any()}
    assert changed == {'temporal_neck', 'velocity_head', 'trajectory_head'}
    with pytest.raises(ValueError, match="no module 'backbon'"):
        MODELS.build({**cfg.model, 'frozen': ['backbon']})


def test_detectors_of_one_frame_refuse_more(data_root):
    stages = {stage.name: stage for stage in stages_of(recipe_paths()['manual'], 0, UNUSED)}
    settings = {**stages['S3'].config.train_dataloader.dataset, 'data_root': str(data_root)}
    settings.pop('type')
    model = MODELS.build(stages['S1'].config.model)
    data = model.data_preprocessor(pseudo_collate([V2XPnPDataset(**settings)[0]]), training=True)
    with pytest.raises(ValueError, match='3 frames need a temporal_neck'):
        model(**data, mode='loss')


def test_a_fingerprint_tells_configs_apart_and_not_where_they_run():
    path = recipe_paths()['turbotrain']
    first, again, moved, other_seed, other_split = (
        [stage.folder.name for stage in stages_of(path, seed, settings)]
        for seed, settings in (
            (0, UNUSED), (0, UNUSED), (0, Settings(Path('/elsewhere'))), (1, UNUSED),
            (0, replace(UNUSED, split='val')),
        )
    )  # fmt: skip
    assert first == again == moved
    assert not set(first) & set(other_seed)
    # What is measured on another split is not trained anew.
    assert first == other_split

    mixed = list(stages_of(path, 0, replace(UNUSED, amp=True)))
    assert not set(first) & {stage.folder.name for stage in mixed}
    prefix = 'Amp' if torch.cuda.is_available() else 'BFloat16'
    assert [stage.config.optim_wrapper.type for stage in mixed] == [
        f'{prefix}OptimWrapper', f'{prefix}ConflictSuppressingOptimWrapper',
    ]  # fmt: skip

    def weigh(stage: str, cfg: Config) -> None:
        if stage == 'pretraining':
            cfg.model.masking.ratio = 0.33

    changed = [stage.folder.name for stage in stages_of(path, 0, UNUSED, weigh)]
    # What the weights come from counts.
    assert not set(first) & set(changed)
    watched = dict(a=1, log_level='INFO', of_mode='-ic')
    assert fingerprint(Config(watched)) == fingerprint(Config(dict(a=1)))
    assert len(fingerprint(Config(dict(a=1)))) == 8


def test_two_stages_run_go_on_and_are_not_repeated(data_root, tmp_path):
    """The command itself, from elsewhere, on the tiny set."""
    recipe = tmp_path / 'short.py'
    recipe.write_text(
        'stages = dict(\n'
        "    S1=dict(config='configs/recipes/stages/mini/detection_sa-sf_mini_v2xpnp.py', "
        'epochs=2),\n'
        "    S2=dict(config='configs/recipes/stages/mini/prediction_sa-mf_mini_v2xpnp.py', "
        "epochs=2, fresh=['temporal_neck', 'velocity_head', 'trajectory_head']),\n"
        ')\nepoch_iters = 1\nval_epochs = 2\n'
    )
    words = [
        ROOT / 'tools/run_recipe.py', recipe, '--work-dir', tmp_path / 'work',
        '--data-root', data_root,
    ]  # fmt: skip
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    results = json.loads((tmp_path / 'work/short_seed-0.json').read_text())
    assert [*results['stages']] == ['S1', 'S2']
    for stage in results['stages'].values():
        assert (stage['iterations'], stage['samples'], stage['epochs']) == (2, 2, 2)
        assert stage['train_seconds'] > 0 and 'AP@0.5/vehicle' in stage['metrics']
        assert [step for step, _ in stage['curve']] == [2]
    weights = [
        torch.load(path, weights_only=True)['state_dict']
        for name in ('S1', 'S2')
        for path in (tmp_path / 'work/seed_0').glob(f'{name}-*/iter_2.pth')
    ]
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key  # S2 freezes what S1 has trained
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / 'work').rglob('*.pth')}
    settings = Settings(tmp_path / 'work', data_root=data_root)
    again = run_all([Run('short', 0, recipe)], settings)['short', 0]
    assert again == results['stages']
    other = run_all([Run('short', 0, recipe)], replace(settings, split='val'))['short', 0]
    assert [stage['metrics'].keys() for stage in other.values()] == [
        stage['metrics'].keys() for stage in again.values()
    ]
    measured = [*(tmp_path / 'work').rglob('metrics.json')]
    assert len(measured) == 4 and len({path.parent.name for path in measured}) == 4
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / 'work').rglob('*.pth')}

    # As if S2 had been stopped in its last validation.
    (folder,) = (tmp_path / 'work/seed_0').glob('S2-*/')
    (log,) = folder.glob('*/vis_data/scalars.json')
    log.write_text(''.join(line for line in log.open() if 'EPA' not in line))
    (folder / 'last_validation').unlink()
    validated = [stage['curve'][-1][1].keys() for stage in results['stages'].values()]
    again = run_all([Run('short', 0, recipe)], settings)['short', 0]
    assert [stage['curve'][-1][1].keys() for stage in again.values()] == validated
    assert again['S2']['curve'][-1][1]['EPA'] == results['stages']['S2']['curve'][-1][1]['EPA']


def test_data_are_found_from_any_directory(data_root, tmp_path, monkeypatch):
    """Paths in configs are relative to the project, those on the command line to the shell."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['a', '--work-dir', 'own', '--out', 'out.png'])
    args = label_efficiency.parse_args()
    assert settings_of(args).work_dir == tmp_path / 'own'
    assert args.out == tmp_path / 'out.png'
    cfg = Config.fromfile(ROOT / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py')
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.data_root = os.path.relpath(data_root, ROOT)
    assert Step(cfg).run() > 0
    label_efficiency.change_of('one', 0, None)('finetuning', cfg)
    assert cfg.train_dataloader.dataset.indices


def test_a_step_is_measured_by_its_settings(data_root):
    asked = settings([2, 4], full=True)
    assert len(set(asked)) == len(asked)
    assert {setting.config for setting in asked} == {'mini', 'pretraining', 'full'}
    assert any(setting.compiled for setting in asked)
    if not torch.cuda.is_available():
        assert {setting.precision for setting in asked} == {'default', 'bfloat16'}
        assert not any(setting.pinned for setting in asked)
    found = measure(Setting(batch_size=2), data_root, steps=1)
    assert found['samples_per_second'] == pytest.approx(1 / found['seconds_per_sample'], rel=0.02)
    assert 0.01 < found['share_of_peak'] < 1 and found['megabytes'] > 1


def test_energy_is_that_of_all_packages_and_counters_may_wrap(tmp_path, monkeypatch):
    def zone(name: str, kind: str, joules: int) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / 'name').write_text(f'{kind}\n')
        (folder / 'max_energy_range_uj').write_text(f'{1000 * 10**6}\n')
        return counts(folder / 'energy_uj', joules)

    def counts(path: Path, joules: int) -> Path:
        unfinished = path.with_suffix('.part')
        unfinished.write_text(f'{joules * 10**6}\n')
        return unfinished.replace(path)

    monkeypatch.setattr(energy, 'RAPL', tmp_path)
    monkeypatch.setattr(energy, '_gpus', list)
    with energy.EnergyMeter() as meter:
        pass
    assert meter.joules is None
    one, other = zone('intel-rapl:0', 'package-0', 900), zone('intel-rapl:1', 'package-1', 10)
    platform = zone('intel-rapl:2', 'psys', 50)
    zone('intel-rapl:0:0', 'core', 3)
    with energy.EnergyMeter(period=0.01) as meter:
        counts(one, 950)
        counts(platform, 90)
        late = time.monotonic() + 20
        while meter.joules < 50 and time.monotonic() < late:
            time.sleep(0.01)
        counts(one, 30)
        counts(other, 17)
    assert meter.joules == pytest.approx(50 + 80 + 7)
    with energy.EnergyMeter() as meter:
        one.write_text('')
    assert meter.joules is None


def test_energy_of_a_counter_that_began_anew_is_not_known(monkeypatch):
    values = iter([100.0, 5.0])
    monkeypatch.setattr(energy, '_gpus', lambda: [energy.Counter(next(values), math.inf)])
    with energy.EnergyMeter() as meter:
        pass
    assert meter.joules is None
