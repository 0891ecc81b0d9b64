"""Whatever happens while a checkpoint is written, the run can go on from a whole one."""

import io
import os
import resource
import signal
import struct
import subprocess
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from tests.engine.small_runs import build, end_of, start
from turbotrain.commands import explain
from turbotrain.engine import CheckpointError, checkpoints_by_age, newest_checkpoint
from turbotrain.engine.checkpoint import read_checkpoint
from turbotrain.errors import UserError
from turbotrain.whole_file import write_whole


@HOOKS.register_module()
class LimitFileSizeHook(Hook):
    """From some iteration on files cannot grow beyond some size, as on a disk that is full."""

    priority = 'VERY_HIGH'

    def __init__(self, iteration: int, size: int = 4000) -> None:
        self.iteration, self.size = iteration, size

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, hard))


@pytest.fixture
def _unlimited():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> Path:
    """A run's folder with ``iter_2.pth`` to ``iter_14.pth``."""
    work_dir = tmp_path_factory.mktemp('run')
    end_of(build(work_dir))
    return work_dir


@pytest.fixture
def copy(run, tmp_path) -> Path:
    subprocess.run(['cp', '-a', f'{run}/.', tmp_path], check=True)
    return tmp_path


def test_the_newest_is_the_one_named_last(run):
    assert newest_checkpoint(run) == str(run / 'iter_14.pth')
    assert (run / 'last_checkpoint').read_text() == 'iter_14.pth'
    assert not list(run.glob('*.partial'))
    assert newest_checkpoint(run / 'nowhere') is None


@pytest.mark.parametrize(
    'checkpoint', [dict(out_dir='elsewhere'), dict(filename_tmpl='ckpt_{}.pth')]
)
def test_one_that_lies_elsewhere_or_has_another_name_is_not_begun_anew(
    checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    end_of(build(tmp_path / 'run', epochs=1, checkpoint=checkpoint))
    with pytest.raises(CheckpointError, match='last_checkpoint names .*name the file by --resume'):
        newest_checkpoint(tmp_path / 'run')
    resumed = build(tmp_path / 'run', epochs=2, resume=True, checkpoint=checkpoint)
    if 'out_dir' in checkpoint:  # mmengine reads the whole path
        end_of(resumed)
        assert resumed.train_loop._iter == 14 and resumed.optim_wrapper.update_index == 14
    else:
        with pytest.raises(CheckpointError, match='last_checkpoint names'):
            end_of(resumed)


def flipped(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        part = max(archive.infolist(), key=lambda part: part.file_size)
    start = part.header_offset
    name, extra = struct.unpack('<HH', content[start + 26 : start + 30])
    place = start + 30 + name + extra + part.file_size // 2  # amid the largest tensor's values
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    'damage',
    [
        lambda content: b'',
        lambda content: content[:1000],
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2] + bytes(len(content) // 2),
        flipped,
        lambda content: b'no checkpoint',
    ],
    ids=['empty', 'begun', 'cut', 'zeros', 'a flipped bit', 'text'],
)
def test_a_damaged_newest_is_passed_over_with_a_warning(damage, copy):
    newest = copy / 'iter_14.pth'
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.warns(UserWarning, match=r'iter_14\.pth: .*going back to the checkpoint before'):
        assert newest_checkpoint(copy) == str(copy / 'iter_12.pth')


def test_times_of_files_mean_nothing(copy):
    names = [path.name for path in checkpoints_by_age(copy)]
    assert names[:2] == ['iter_14.pth', 'iter_12.pth']
    for i, name in enumerate(names):
        os.utime(copy / name, (i, i))
    (copy / 'best.pth').touch()
    assert [path.name for path in checkpoints_by_age(copy)] == names
    (copy / 'last_checkpoint').write_text('elsewhere/iter_12.pth')
    assert checkpoints_by_age(copy)[0].name == 'iter_12.pth'


def test_what_cannot_be_resumed_is_passed_over(copy):
    torch.save(dict(state_dict={}), copy / 'iter_14.pth')
    with pytest.warns(UserWarning, match=r'iter_14\.pth: cannot be resumed: .*optimizer'):
        assert newest_checkpoint(copy) == str(copy / 'iter_12.pth')


def test_no_whole_one_is_an_error_not_a_fresh_start(copy):
    for path in copy.glob('*.pth'):
        path.write_bytes(path.read_bytes()[:500])
    with (
        pytest.warns(UserWarning),
        pytest.raises(CheckpointError, match='none of its 7 checkpoints is whole'),
    ):
        newest_checkpoint(copy)


@pytest.mark.usefixtures('_unlimited')
def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path):
    path = tmp_path / 'file'
    write_whole(path, b'old')
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
    with pytest.raises(OSError, match='too large'):
        write_whole(path, bytes(2000))
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.usefixtures('_unlimited')
@pytest.mark.parametrize('keep', [1, 2])
def test_a_full_disk_ends_the_run_with_a_sentence_and_a_whole_checkpoint(keep, tmp_path):
    full = dict(type='LimitFileSizeHook', iteration=5)
    runner = build(tmp_path, hooks=(full,), checkpoint=dict(max_keep_ckpts=keep))
    with pytest.raises(CheckpointError) as error:
        end_of(runner)
    assert str(error.value).startswith(f'{tmp_path}/iter_6.pth: cannot be written (File too large)')
    assert f'{tmp_path}/iter_4.pth is whole' in str(error.value)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert newest_checkpoint(tmp_path) == f'{tmp_path}/iter_4.pth'
    assert (tmp_path / 'last_checkpoint').read_text() == 'iter_4.pth'


def test_a_full_tmpfs(tmp_path):
    made = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', tmp_path], check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f'mounting is not allowed here: {made.stderr.strip()}')
    try:
        with pytest.raises((CheckpointError, OSError)) as error:
            end_of(build(tmp_path, epochs=20))
        said = explain(error.value, str(tmp_path)) or error.value
        assert 'No space left on device' in str(said) and '--resume' in str(said)
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            newest = newest_checkpoint(tmp_path)
        assert read_checkpoint(newest)['meta']['iter'] >= 2
    finally:
        subprocess.run(['umount', '-l', tmp_path], check=True)


def test_a_full_disk_that_a_log_meets_is_told_too():
    error = OSError(28, 'No space left on device', '/runs/a/scalars.json')
    said = explain(error, '/runs/a')
    assert isinstance(said, UserError) and '/runs/a/scalars.json' in str(said)
    assert explain(OSError(13, 'Permission denied'), '/runs/a') is None


def be_killed(folder: Path, moment: str, keep: int) -> None:
    """Run, and be killed while the second checkpoint is written."""
    owner = os if moment == 'fsync' else Path
    original, calls = getattr(owner, moment), []

    def kill(*args) -> None:
        calls.append(args)
        if str(args[0]).endswith('iter_4.pth.partial') or len(calls) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args)

    setattr(owner, moment, kill)
    end_of(build(folder, checkpoint=dict(max_keep_ckpts=keep)))


# The last moments before the new file is whole, and before it has its name.
@pytest.mark.parametrize(('moment', 'keep'), [('fsync', 1), ('replace', 1), ('replace', 2)])
def test_a_kill_inside_the_writing(moment, keep, tmp_path):
    process = start(be_killed, tmp_path, moment, keep)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        newest = newest_checkpoint(tmp_path)
    assert newest == f'{tmp_path}/iter_2.pth' and read_checkpoint(newest)
    assert (tmp_path / 'last_checkpoint').read_text() == 'iter_2.pth'
    assert (tmp_path / 'iter_4.pth.partial').exists(), 'it was writing'
    end_of(build(tmp_path, resume=True, load_from=newest, checkpoint=dict(max_keep_ckpts=keep)))
    assert newest_checkpoint(tmp_path) == f'{tmp_path}/iter_14.pth'
    assert not list(tmp_path.glob('*.partial'))


def test_the_better_one_is_there_before_the_best_so_far_is_deleted(tmp_path, monkeypatch):
    removed = []

    def unlink(path, **kwargs) -> None:
        removed.append((path, sorted(p.name for p in tmp_path.glob('best*'))))
        original(path, **kwargs)

    original = os.remove
    monkeypatch.setattr(os, 'remove', unlink)
    best = dict(by_epoch=True, interval=1, save_best='score', rule='greater')
    end_of(build(tmp_path, epochs=3, validate=True, checkpoint=best))
    assert [there for _, there in removed] == [
        [f'best_score_epoch_{n}.pth', f'best_score_epoch_{n + 1}.pth'] for n in (1, 2)
    ]
    (left,) = tmp_path.glob('best*')
    assert left.name == 'best_score_epoch_3.pth'
