"""Checkpoints from strangers run nothing."""

import shutil
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from projects.TurboTrain.turbotrain.engine import CheckpointError, read_checkpoint
from tests.datasets.test_attacks import routes
from tests.engine.small_runs import build, end_of


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> Path:
    work_dir = tmp_path_factory.mktemp('run')
    end_of(build(work_dir, epochs=1))
    return work_dir


def replace_part(path: Path, out: Path, content: bytes, compression: int) -> None:
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(out, 'w', compression) as after:
        for name in before.namelist():
            new = content if name.endswith('data.pkl') else before.read(name)
            after.writestr(name, new)


@pytest.mark.parametrize('route', routes(''))
def test_checkpoints_run_nothing(route, run, tmp_path):
    marker, path = tmp_path / 'ran', tmp_path / 'evil.pth'
    content = routes(f'touch {marker}')[route]
    replace_part(run / 'iter_6.pth', path, content, zipfile.ZIP_STORED)
    for evil in (path, tmp_path / 'old.pth'):
        with pytest.raises(CheckpointError) as error:
            read_checkpoint(str(evil))
        assert str(error.value).startswith(str(evil))
        assert 'weights_only' not in str(error.value), 'no advice to switch it off'
        # As files were before torch 1.6: one pickle after another.
        (tmp_path / 'old.pth').write_bytes(content)
    assert not marker.exists()


@pytest.mark.parametrize('resume', [False, True])
def test_runners_read_by_the_same_reader(resume, run, tmp_path):
    marker, path = tmp_path / 'ran', tmp_path / 'evil.pth'
    content = routes(f'touch {marker}')['GLOBAL and REDUCE']
    replace_part(run / 'iter_6.pth', path, content, zipfile.ZIP_STORED)
    with pytest.raises(CheckpointError, match='system'):
        build(tmp_path / 'run', load_from=str(path), resume=resume).train()
    assert not marker.exists()


def test_text_that_mmengine_would_run_when_it_resumes(run, tmp_path):
    """It reads the number of GPUs from a config in the checkpoint, as Python."""
    content = torch.load(run / 'iter_6.pth', weights_only=True)
    content['meta']['config'] = f'import os\nos.system("touch {tmp_path / "ran"}")\n'
    torch.save(content, tmp_path / 'evil.pth')
    build(tmp_path / 'run', load_from=str(tmp_path / 'evil.pth'), resume=True).train()
    assert not (tmp_path / 'ran').exists()


def test_a_packed_checkpoint_is_refused_before_it_is_unpacked(run, tmp_path):
    zeros = bytes(2**26)
    replace_part(run / 'iter_6.pth', tmp_path / 'bomb.pth', zeros, zipfile.ZIP_DEFLATED)
    assert (tmp_path / 'bomb.pth').stat().st_size < 2**17
    with pytest.raises(CheckpointError, match='is compressed'):
        read_checkpoint(str(tmp_path / 'bomb.pth'))


def twice(path: Path, out: Path) -> None:
    """Two archives in one file: zipfile reads the second one, torch the first."""
    out.write_bytes(path.read_bytes() * 2)


def hidden(path: Path, out: Path) -> None:
    """A part that another one of its name hides."""
    shutil.copy(path, out)
    with zipfile.ZipFile(out, 'a') as archive, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        archive.writestr(archive.namelist()[-1], b'')


def script(path: Path, out: Path) -> None:
    """A model as TorchScript, its parts unpacked."""
    torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1)).save(out.with_suffix('.pt'))
    with zipfile.ZipFile(out.with_suffix('.pt')) as before, zipfile.ZipFile(out, 'w') as after:
        for name in before.namelist():
            after.writestr(name, before.read(name))


@pytest.mark.parametrize(
    ('make', 'words'),
    [(twice, 'its directory hides'), (hidden, 'its directory hides'), (script, 'TorchScript')],
)
def test_archives_that_torch_may_read_otherwise_are_refused(make, words, run, tmp_path):
    make(run / 'iter_6.pth', tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(str(tmp_path / 'evil.pth'))


def test_what_is_no_dictionary_is_no_checkpoint(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / 'list.pth')
    with pytest.raises(CheckpointError, match='expected a dictionary with weights, got a list'):
        read_checkpoint(str(tmp_path / 'list.pth'))


def test_our_checkpoints_need_no_allow_list(run):
    if hasattr(torch.serialization, 'get_safe_globals'):  # since torch 2.4
        added = torch.serialization.get_safe_globals()
        assert all(one.__module__.split('.')[0] == 'torch' for one in added), 'torch adds its own'
    assert torch.load(run / 'iter_6.pth', weights_only=True)['processes']['states']
