"""From a command line to a runner: hooks switched off, and mistakes told in a sentence."""

import argparse
import importlib
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from numba.core import caching
from torch._utils import ExceptionWrapper

from tests.configs import flat
from turbotrain.commands import KeyValues, explain, launch, load_config, run_tool
from turbotrain.compilation import compiled
from turbotrain.datasets.readers import DataFileError
from turbotrain.errors import SettingError, UserError

ROOT = Path(__file__).parents[2]
MINI = ROOT / 'configs/turbotrain/mini'
PRETRAIN, FINETUNE = (MINI / f'{stage}_mini_v2xpnp.py' for stage in ('pretrain', 'finetune'))
OWN_HOOKS = [*Config.fromfile(FINETUNE).default_hooks]


def read(
    path: Path = FINETUNE, mode: str | None = None, work_dir: str | None = 'out', **options: object
) -> Config:
    words = dict(mode=mode, work_dir=work_dir, launcher='none', local_rank=0)
    return load_config(argparse.Namespace(config=str(path), cfg_options=options, **words))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # commands leave for the project's root; pytest goes back


class Hooks:
    """What mmengine registers, instead of a runner."""

    def __init__(self, cfg: Config) -> None:
        self.types = []
        Runner.register_default_hooks(self, cfg.default_hooks)
        Runner.register_custom_hooks(self, cfg.custom_hooks)

    def register_hook(self, hook: dict) -> None:
        self.types.append(hook['type'])


MODES = {f'{split}_dataloader.dataset.mode' for split in ('train', 'val', 'test')}


@pytest.mark.parametrize(
    'name',
    ['turbotrain/finetune_v2xreal', 'turbotrain/finetune_v2xset', 'benchmark/late-fusion_v2xpnp'],
)
def test_a_mode_changes_the_data_sets_and_the_work_dir_alone(name, monkeypatch):
    path = ROOT / f'configs/{name}.py'
    usual, other = (read(path, mode=mode, work_dir=None) for mode in (None, 'i2i'))
    assert Path(other.work_dir) == Path(f'{usual.work_dir}-i2i')
    before, after = flat(usual.to_dict()), flat(other.to_dict())
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed <= MODES | {'mode', 'of_mode', 'work_dir', 'load_from'}
    assert {after[key] for key in MODES} == {'i2i'} and {before[key] for key in MODES} == {'vc'}
    assert 'V2X_MODE' not in os.environ
    monkeypatch.setenv('V2X_MODE', 'i2i')
    assert read(path, work_dir=None).to_dict() == other.to_dict()
    assert read(path, mode='vc', work_dir=None).to_dict() == usual.to_dict()
    assert os.environ['V2X_MODE'] == 'i2i'


@pytest.mark.parametrize('mode', [None, 'ic'])
@pytest.mark.parametrize('of', ['v2xpnp', 'v2xpnp_sparse', 'v2xreal', 'v2xset', 'mini_v2xpnp'])
def test_stage_two_starts_from_stage_one_of_the_same_mode(of, mode):
    folder = ROOT / 'configs/turbotrain' / ('mini' if of.startswith('mini') else '')
    first, second = (
        read(folder / f'{stage}_{of}.py', mode=mode, work_dir=None)
        for stage in ('pretrain', 'finetune')
    )
    assert Path(first.work_dir).name == f'pretrain_{of}' + (f'-{mode}' if mode else '')
    last = f'epoch_{first.train_cfg.max_epochs}.pth'
    assert ROOT / second.load_from == Path(first.work_dir) / last


def test_a_teacher_is_of_the_same_mode():
    path = ROOT / 'configs/benchmark/disconet_v2xpnp.py'
    for mode, folder in ((None, 'early-fusion_v2xpnp'), ('ic', 'early-fusion_v2xpnp-ic')):
        teacher = read(path, mode=mode).model.teacher
        assert teacher.checkpoint == f'work_dirs/{folder}/epoch_30.pth'
        own = read(ROOT / teacher.config, mode=mode, work_dir=None)
        assert Path(own.work_dir).name == folder and own.train_cfg.max_epochs == 30


@pytest.mark.parametrize(
    ('name', 'own'),
    [('turbotrain/finetune_opv2v', 'v2v'), ('mixed/pointpillars_kitti_pretrain', 'None')],
)
def test_a_mode_that_a_config_does_not_choose_is_refused(name, own):
    with pytest.raises(UserError, match=f'--mode ic: this config has one mode only, {own}$'):
        read(ROOT / f'configs/{name}.py', mode='ic')


@pytest.mark.parametrize('name', [*OWN_HOOKS, 'runtime_info'])
def test_every_default_hook_can_be_switched_off(name):
    everything = Hooks(read()).types
    left = Hooks(read(**{f'default_hooks.{name}': None})).types
    assert len(left) == len(everything) - 1 and {*left} < {*everything}


def test_hooks_that_no_config_names_can_be_switched_off_too(tmp_path):
    path = tmp_path / 'plain.py'
    path.write_text('default_hooks = dict(plain_checkpoint=None, checkpoint=None)\n')
    types = Hooks(read(path)).types
    assert 'ExactResumeHook' in types
    assert not {'PlainCheckpointHook', 'CheckpointHook', 'DurableCheckpointHook'} & {*types}
    path.write_text('custom_hooks = [None, dict(type="TransferReportHook")]\ndefault_hooks = None')
    types = Hooks(read(path)).types
    assert types.count('TransferReportHook') == 1 and 'DurableCheckpointHook' in types
    path.write_text('custom_hooks = None')
    assert read(path).custom_hooks == []


def test_loops_are_compiled_where_nothing_can_be_kept(monkeypatch):
    def one(x):
        return x + 1

    def two(x):
        return 2 * x

    monkeypatch.setattr(caching.CompileResultCacheImpl, '_locator_classes', [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('default')
        functions = [compiled(one), compiled(two)]
    assert [function(np.float64(3)) for function in functions] == [4, 6]
    (warning,) = caught
    assert 'NUMBA_CACHE_DIR' in str(warning.message)


def test_a_folder_that_cannot_be_written_is_told():
    for number, name in ((30, '/runs/a/1/vis_data'), (13, '/runs'), (20, '/runs/a')):
        said = explain(OSError(number, 'No', name), '/runs/a')
        assert isinstance(said, UserError) and f'{name}: cannot be written' in str(said)
    assert explain(PermissionError(13, 'No', '/data/infos.npz'), '/runs/a') is None


def say(tool: str, *words: object, monkeypatch) -> str:
    """What a command that fails ends with; a trace would be another exception."""
    name = f'tools.{tool}'
    module = importlib.import_module(name)
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, words)])
    with pytest.raises(SystemExit) as end:
        module.run_tool(module.main)
    assert str(end.value.code).startswith('error: ')
    return str(end.value.code)


SMALL = """
custom_imports = dict(imports=['turbotrain.plugin', 'tests.engine.small_runs'])
default_scope = 'mmdet3d'
model = dict(type='Gambler')
train_dataloader = dict(dataset=dict(type='V2XPnPDataset'), batch_size=2, num_workers=0)
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(checkpoint=dict(type='CheckpointHook'))
"""


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ('train_dataloadr.batch_size=1', '--cfg-options train_dataloadr.batch_size: is no setting'),
        ('train_pipeline.0.type=A', 'shorthand'),
        ('custom_hooks.7.type=A', 'custom_hooks: expected a list'),
        ('default_scope.a=1', '--cfg-options default_scope.a: '),
        ('model.type=Gamblr', 'cannot be built: Gamblr is not in the'),
        ('model.chanels=3', "unexpected keyword argument 'chanels'"),
        ('model.type=PrincipalCompression model.ratio=0', 'at least 1, got 0'),
        ('train_cfg.max_epoch=3', "unexpected keyword argument 'max_epoch'"),
        ('optim_wrapper.optimizer.type=Adamm', "there is no optimiser 'Adamm'"),
        ('randomness.seed=one', "expected a whole number, got 'one'"),
        ('randomness.seed=None', 'expected a whole number, got None'),
        ('default_hooks.timer=3', 'expected the config of a hook, got 3'),
        ('model=None', 'the config has no model'),
        ('default_hooks.checkpoint.intervall=1', "has no argument ['intervall']"),
        ('default_hooks.numerical_faults.max_skipped=-1', 'expected 0 or more, got -1'),
    ],
)
def test_mistakes_in_settings_end_with_a_sentence(changes, words, tmp_path, monkeypatch):
    (tmp_path / 'small.py').write_text(SMALL)
    command = ['small.py', '--work-dir', 'out', '--cfg-options', *changes.split()]
    said = say('train', *command, monkeypatch=monkeypatch)
    assert words in said and '\n' not in said


@pytest.mark.parametrize(
    'text',
    ['a', '=1', "hooks=[dict(type='A',b=1)]", 'hooks=dict(type=A)', 'a=[1,2', 'a={b:1}', 'a=(1,2]'],
)
def test_options_that_cannot_be_read_are_a_mistake_of_usage(text, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'a.b=[1,(2,c)]', text])
    said = capsys.readouterr().err
    assert 'error: argument --cfg-options: expected key=value, lists as [a,b]' in said
    assert repr(text) in said
    texts = ['a.b=[1,(2,c)]', 'd=e=f', 'name=ckpt_{}.pth', 'path=/data/dict(1)/x']
    assert parser.parse_args(['--cfg-options', *texts]).cfg_options == {
        'a.b': [1, (2, 'c')],
        'd': 'e=f',
        'name': 'ckpt_{}.pth',
        'path': '/data/dict(1)/x',
    }


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('model = dict(', 'cannot be read as a config'),
        ("_base_ = './nowhere.py'", 'nowhere.py'),
        ('a = 1\nb = c', "config.py, line 2: cannot be read as a config: NameError: name 'c'"),
        (f"_base_ = '{FINETUNE}'\nlog_level = dict(a=1)", 'cannot be read as a config'),
    ],
)
def test_configs_that_cannot_be_read(text, words, tmp_path, monkeypatch):
    path = tmp_path / 'config.py'
    path.write_text(text)
    said = say('train', path, monkeypatch=monkeypatch)
    assert words in said and 'config.py' in said


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (SettingError('A has to come before B'), 'error: A has to come before B'),
        (DataFileError('a.pcd', 'is cut'), 'error: a.pcd: is cut'),
        (FileNotFoundError('there is no a'), 'error: there is no a'),
        (PermissionError(13, 'Permission denied', '/a'), 'error: /a: Permission denied'),
    ],
)
def test_errors_come_without_a_trace_from_data_workers_too(error, words):
    def fail():
        raise error

    with pytest.raises(SystemExit) as end:
        run_tool(fail)
    assert end.value.code == words
    if isinstance(error, UserError):
        try:
            fail()
        except UserError:
            wrapped = ExceptionWrapper(where='in DataLoader worker process 0')
        with pytest.raises(SystemExit) as end:
            run_tool(wrapped.reraise)
        assert end.value.code == words


def test_our_own_faults_keep_their_trace(tmp_path, monkeypatch):
    module = importlib.import_module('tools.train')
    monkeypatch.setattr(module, 'load_config', lambda *args: np.zeros(2).reshape(3))
    monkeypatch.setattr(sys, 'argv', ['train', str(FINETUNE)])
    with pytest.raises(ValueError, match='reshape'):
        module.run_tool(module.main)
    monkeypatch.setattr(module, 'load_config', lambda *args: {}['a key'])
    with pytest.raises(KeyError):
        module.run_tool(module.main)


@pytest.mark.parametrize('stage', ['pretrain', 'finetune'])
def test_steps_that_torch_cannot_compile_are_refused(stage):
    cfg = Config.fromfile(ROOT / f'configs/turbotrain/mini/{stage}_mini_v2xpnp.py')
    cfg.compile = True
    with pytest.raises(UserError, match='compile: torch cannot compile a whole step'):
        launch(cfg, 'train')
