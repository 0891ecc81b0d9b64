"""The benchmark's command: one budget for all, and going on after an interruption."""

import argparse
import importlib
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.configs import flat
from tests.scenes import write_scenario
from turbotrain.datasets import build_infos, save_infos
from turbotrain.recipes.processes import Jobs

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools/benchmark/models.py'
ITERS = 20
# What the benchmark sets alike for all methods, or switches off.
BUDGET = ('train_cfg', 'param_scheduler', 'val_', 'log_processor', 'default_hooks.checkpoint')


@pytest.fixture
def models(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools/benchmark')
    return importlib.import_module('models')


def options(folder: Path, **changes: object) -> argparse.Namespace:
    defaults = dict(mode='vc', iters=300, seed=0, jobs=1, work_dir=folder, data_root=None)
    return argparse.Namespace(**defaults | changes)


def test_every_method_has_the_same_budget_and_else_its_own_config(models, tmp_path):
    paths, plans = models.method_configs(mini=True), models.plans_of(options(tmp_path, seed=5))
    assert {'no-fusion', 'early-fusion', 'f-cooper', 'v2xpnp'} <= paths.keys()
    budgets = []
    for (method, _), stages in plans.items():
        given, own = (
            {k: v for k, v in flat(cfg.to_dict()).items() if 'checkpoint' not in k.split('.')[-1:]}
            for cfg in (stages[-1].config, Config.fromfile(paths[method]))
        )
        assert given.pop('randomness.seed') == 5
        own.pop('randomness.seed')
        budgets.append({k: v for k, v in given.items() if k.startswith(BUDGET)})
        for cfg in (given, own):
            for key in [key for key in cfg if key.startswith(BUDGET)]:
                del cfg[key]
        assert given == own, method
    assert all(budget == budgets[0] for budget in budgets)
    assert budgets[0]['train_cfg.max_iters'] == 300
    folders = [stages[-1].folder for stages in plans.values()]
    assert len({*folders}) == len(folders)


def test_a_teacher_is_trained_first_and_its_checkpoint_passed_on(models, tmp_path, monkeypatch):
    config = tmp_path / 'taught_mini_v2xpnp.py'
    parent = ROOT / 'configs/benchmark/mini/f-cooper_mini_v2xpnp.py'
    config.write_text(
        f"_base_ = '{parent}'\n"
        "teacher = dict(checkpoint='work_dirs/early-fusion_mini_v2xpnp-ic/epoch_1.pth')\n"
    )
    known = models.method_configs(mini=True)
    monkeypatch.setattr(models, 'method_configs', lambda *_, **__: {'taught': config, **known})
    plans = models.plans_of(options(tmp_path / 'runs', mode='ic'))
    teacher, taught = plans['taught', 0]
    assert [teacher] == plans['early-fusion', 0]
    assert Path(taught.config.teacher.checkpoint) == teacher.folder / 'iter_300.pth'
    moved = models.plans_of(options(tmp_path / 'elsewhere', mode='ic'))['taught', 0][-1]
    assert moved.folder.name == taught.folder.name
    longer = models.plans_of(options(tmp_path / 'runs', mode='ic', iters=301))['taught', 0]
    assert {s.folder for s in longer}.isdisjoint({teacher.folder, taught.folder})


def test_it_goes_on_where_it_was_interrupted(models, tmp_path):
    data, work, report = tmp_path / 'data', tmp_path / 'work', tmp_path / 'docs/report.json'
    for split, last in (('train', 30), ('test', 10)):
        write_scenario(data, split, frames=range(0, last, 5))
        save_infos(str(data / f'v2xpnp_infos_{split}.npz'), build_infos(str(data), split))
    command = [
        sys.executable, TOOL, 'f-cooper', '--iters', ITERS, '--data-root', data,
        '--work-dir', work, '--report', report,
    ]  # fmt: skip
    command = list(map(str, command))
    environment = os.environ | dict(PYTHONPATH='')
    stages = models.plans_of(options(work, iters=ITERS, data_root=data))['f-cooper', 0]
    folder = stages[-1].folder

    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while not (folder / 'last_checkpoint').exists():
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) != 0
    assert not (folder / f'iter_{ITERS}.pth').exists()
    assert not report.exists()

    done = subprocess.run(
        command, env=environment, check=False, text=True, timeout=500, stdout=subprocess.PIPE
    )
    assert done.returncode == 0, done.stdout
    log = (folder / 'train.log').read_text()
    assert 'starting afresh' in log
    assert 'resumed epoch: 0, iter: ' in log
    assert f'Iter(train) [{ITERS}/{ITERS}]' in log
    summary = json.loads(done.stdout.splitlines()[-1])
    figures = models.collect(stages[-1])
    for name in ('EPA', 'message_bytes', 'parameters', 'seconds_per_iteration'):
        assert summary['methods']['f-cooper'][name] == figures.get(name)
    # A map of 64 channels, and some occupied cells.
    assert 0 < figures['message_bytes'] - 64 * 32 * 64 * 4 < 2**16
    assert 0 < figures['seconds_per_sample'] < 60
    assert all(v is None or math.isfinite(v) for v in figures.values())
    results = json.loads(report.read_text())['modes']['vc']
    assert results['methods'] == {'f-cooper': figures}
    words = ['f-cooper', '--data-root', str(data), '--iters', str(ITERS)]
    assert shlex.split(results['command']) == ['python', 'tools/benchmark/models.py', *words]
    assert results['iterations'] == ITERS and results['versions']['torch']
    page = report.with_suffix('.md').read_text()
    size = f'{figures["message_bytes"] / 1000:.1f} kB'
    assert '| f-cooper |' in page and size in page

    # A third time there is nothing left to do.
    jobs = Jobs()
    jobs.call = None
    assert models.run_stages({('f-cooper', 0): stages}, jobs)
