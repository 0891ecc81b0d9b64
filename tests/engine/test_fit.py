"""A run goes on from what fits it, alone in its folder; else it ends before it writes anything."""

import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tests.engine.small_runs import Gambler, build, end_of
from turbotrain.commands import launch
from turbotrain.commands.running import _not_resumed
from turbotrain.engine import CheckpointError, UserError
from turbotrain.engine.checkpoint import refuse_misfit
from turbotrain.engine.run_lock import only_run_in


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> Path:
    work_dir = tmp_path_factory.mktemp('run')
    end_of(build(work_dir, epochs=1))
    return work_dir


@pytest.fixture
def content(run) -> dict:
    return torch.load(run / 'iter_6.pth', weights_only=True)


def drop_weights(content: dict) -> None:
    content['state_dict'] = {}


def drop_one(content: dict) -> None:
    del content['state_dict']['box.weight']


def add_one(content: dict) -> None:
    content['state_dict']['neck.weight'] = torch.zeros(3)


def reshape_one(content: dict) -> None:
    content['state_dict']['path.bias'] = torch.zeros(7)


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (drop_weights, 'no box.bias, no box.weight, no path.bias and 10 more'),
        (drop_one, 'no box.weight'),
        (add_one, 'neck.weight, which the model has not'),
        (reshape_one, r'path.bias of \(7,\) instead of \(2,\)'),
    ],
)
def test_weights_of_another_model(change, word, content, tmp_path):
    change(content)
    path = str(tmp_path / 'other.pth')
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=f'other.pth: is of another model.*{word}'):
        build(tmp_path / 'a', epochs=3, resume=True, load_from=path).train()
    # The command looks before there is a runner, which would write its config first.
    cfg = Config(
        dict(
            model=dict(type='Gambler'), resume=True, load_from=path, launcher='none',
            work_dir=str(tmp_path / 'b'), default_scope='mmengine',
            optim_wrapper=dict(optimizer=dict(type='SGD')),
        )
    )  # fmt: skip
    with pytest.raises(CheckpointError, match=word):
        launch(cfg, 'train')
    assert [file.name for file in (tmp_path / 'b').iterdir()] == ['.lock']


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('meta', None), ('meta', dict(epoch=1)), ('meta', dict(epoch=1, iter='7')),
        ('meta', dict(epoch=-1, iter=7)), ('state_dict', []), ('state_dict', dict(a=3)),
        ('state_dict', {1: torch.zeros(1)}), ('optimizer', {}), ('optimizer', [1]),
        ('message_hub', {}), ('message_hub', 'x'), ('message_hub', dict(log_scalars=3)),
    ],
)  # fmt: skip
def test_parts_that_nothing_can_go_on_from(key, value, content):
    refuse_misfit('a.pth', content, Gambler())
    with pytest.raises(CheckpointError, match=f"a.pth: cannot be resumed: key '{key}': expected"):
        refuse_misfit('a.pth', content | {key: value}, Gambler())


def _hold(folder: Path, queue) -> None:
    with only_run_in(folder):
        queue.put(os.getpid())
        queue.close()
        queue.join_thread()
        os.kill(os.getpid(), 19)  # stopped, as a run that hangs


def test_a_second_run_is_told_of_the_first_until_that_is_dead(tmp_path):
    fork = multiprocessing.get_context('fork')
    queue = fork.Queue()
    first = fork.Process(target=_hold, args=(tmp_path, queue))
    first.start()
    pid = queue.get(timeout=300)
    with (
        pytest.raises(UserError, match=rf'another run \(process {pid} on .*since .*--work-dir'),
        only_run_in(tmp_path),
    ):
        pass
    first.kill()
    first.join(20)
    with only_run_in(tmp_path):
        assert f'process {os.getpid()} ' in (tmp_path / '.lock').read_text()
    with only_run_in(tmp_path):
        pass


def test_storages_without_locks_hold_nothing(tmp_path, monkeypatch):
    def refuse(*args: object) -> None:
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr('fcntl.lockf', refuse)
    with only_run_in(tmp_path), only_run_in(tmp_path):
        pass


def load_or_resume(error: Exception) -> None:
    """As mmengine's method is called."""
    raise error


@pytest.mark.parametrize(
    'error', [KeyError('x'), RuntimeError('sizes\nof tensors'), TypeError('no'), IndexError()]
)
def test_whatever_else_mmengine_stumbles_over_when_it_resumes(error):
    with pytest.raises(type(error)) as raised:
        load_or_resume(error)
    said = str(_not_resumed(raised.value, 'a.pth'))
    assert said.startswith(f'a.pth: does not fit this run: {type(error).__name__}: ')
    assert '\n' not in said
    assert _not_resumed(error.with_traceback(None), 'a.pth') is None
