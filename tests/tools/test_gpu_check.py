"""The check of a machine's GPUs, as far as it goes without one."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import tools.train
from tools import gpu_check
from tools.gpu_check import Part
from turbotrain.commands import load_config

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools/gpu_check.sh'


def typed(*words: object, **env: str) -> subprocess.CompletedProcess:
    command = ['bash', str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=env or None, cwd='/')


def test_the_plan_is_shown_without_a_gpu():
    shown = typed('--dry-run')
    assert shown.returncode == 0, shown.stderr
    parts = gpu_check.plan(1)
    for part in parts:
        assert any(line.startswith(part.name) for line in shown.stdout.splitlines())
    assert 'about 5 minutes' in shown.stdout


@pytest.mark.skipif('__import__("torch").cuda.is_available()', reason='there is a GPU here')
def test_without_a_gpu_it_ends_with_a_sentence():
    done = typed()
    assert done.returncode == 1
    assert done.stderr == 'gpu_check: there is no NVIDIA GPU here (nvidia-smi lists none).\n'


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--wheels', '/nowhere'], 'there is no folder /nowhere'),
        (['--minutes', 'ten'], "expected a whole number, got 'ten'"),
        (['--fast'], 'unknown option --fast'),
    ],
)
def test_mistakes_end_with_a_sentence(words, said):
    done = typed(*words)
    assert done.returncode == 1 and done.stdout == ''
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_every_training_of_the_plan_is_a_command_that_can_be_read(monkeypatch):
    names = []
    for part in gpu_check.plan(2):
        tool = next((word for word in part.words if word.startswith('tools/')), '')
        assert not tool or (ROOT / tool).is_file()
        if tool not in ('tools/train.py', 'tools/dist_train.sh'):
            continue
        words = part.words[part.words.index(tool) + 1 :]
        if tool.endswith('.sh'):
            assert words[1] == '2'
            words = (words[0], *words[2:])
        monkeypatch.setattr(sys, 'argv', ['train', *words])
        cfg = load_config(tools.train.parse_args(), ['model', 'train_dataloader'])
        assert cfg.train_dataloader.batch_size == 8
        names.append(Path(cfg.work_dir).name)
        if 'finetune' in words[0]:
            assert cfg.load_from.endswith('pretrain-float32/epoch_1.pth')
    kinds = ('float32', 'bfloat16', 'float16')
    assert {*names} == {f'{s}-{k}' for s in gpu_check.STAGES for k in kinds} | {'processes'}
    assert names.count('finetune-float32') == 2  # and resumed


def test_parts_keep_to_their_time_and_say_how_they_went(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, 'ROOT', tmp_path)
    (tmp_path / gpu_check.OUT).mkdir(parents=True)

    def run(code: str, limit: int = 60, left: float = 60) -> dict:
        part = Part('a, part', (sys.executable, '-c', code), limit)
        return gpu_check.run(part, time.monotonic() + left)

    assert run('print(1); print(2)') | dict(seconds=0) == dict(
        part='a, part', result='ok', seconds=0, said='2'
    )
    failed = run('raise SystemExit("out of memory")')
    assert failed['result'] == 'failed, see work_dirs/gpu_check/a_part.log'
    assert failed['said'] == 'out of memory'
    slow = run('import time; time.sleep(60)', limit=6)
    assert slow['result'].startswith('ended after 6 s') and slow['seconds'] < 20
    assert run('print(1)', left=1)['result'] == 'not run: no time left'
