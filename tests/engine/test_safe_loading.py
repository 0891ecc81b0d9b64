"""Checkpoints from strangers run nothing."""

import shutil
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from tests.datasets.attacks import routes, text
from tests.engine.small_runs import build, end_of
from turbotrain.engine import CheckpointError, read_checkpoint


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


def storage(key: str, number: int, kind: str = 'Byte') -> bytes:
    """The instructions of a reference to a storage."""
    name = f'ctorch\n{kind}Storage\n'.encode()
    count = b'J' + number.to_bytes(4, 'little')
    return b'(' + text('storage') + name + text(key) + text('cpu') + count + b'tQ'


def tensor(key: str, number: int, kind: str = 'Byte') -> bytes:
    """The instructions that make a tensor of one dimension."""
    rest = b'K\x00J' + number.to_bytes(4, 'little') + b'\x85K\x01\x85\x89'
    rest += b'ccollections\nOrderedDict\n)R'
    return b'ctorch._utils\n_rebuild_tensor_v2\n(' + storage(key, number, kind) + rest + b'tR'


# What torch before 2.10 believes: a pickle beside a storage of 8 bytes.
CLAIMS = {
    'more values than there are': (tensor('0', 9), 'expected 9 values of 1 bytes, got 8 bytes'),
    'fewer values': (tensor('0', 7), 'expected 7 values'),
    'wider values': (tensor('0', 8, 'Double'), 'expected 8 values of 8 bytes, got 8 bytes'),
    'a storage that is not there': (tensor('1', 8), 'got None'),
    'two sizes': (tensor('0', 8) + b'0' + tensor('0', 2, 'Float'), 'has two sizes'),
    'a kind that nobody knows': (tensor('0', 8, 'Huge'), '8 values of HugeStorage'),
    'an item of a tensor': (tensor('0', 8) + b'K\x00K\x01s', 'no mapping'),
    'items of a tensor': (tensor('0', 8) + b'(K\x00K\x01K\x01K\x02u', 'no mapping'),
    'an item of a list': (b']K\x00K\x01s', 'no mapping'),
    'an item of a storage': (storage('0', 8) + b'K\x00K\x01s', 'no mapping'),
    'an item of a class': (b'ctorch\nTensor\nK\x00K\x01s', 'no mapping'),
}


def archive(path: Path, made: bytes) -> None:
    content = b'\x80\x02}' + text('state_dict') + b'}' + text('w') + made + b'ss.'
    with zipfile.ZipFile(path, 'w') as file:
        for name, part in (('data.pkl', content), ('data/0', bytes(8)), ('version', b'3\n')):
            file.writestr(f'archive/{name}', part)


@pytest.mark.parametrize('claim', CLAIMS)
def test_claims_of_a_pickle_are_held_against_the_file(claim, tmp_path, monkeypatch):
    made, words = CLAIMS[claim]
    path = tmp_path / 'a.pth'
    archive(path, tensor('0', 8))
    assert read_checkpoint(str(path))['state_dict']['w'].tolist() == [0] * 8
    archive(path, made)
    monkeypatch.setattr(torch, 'load', None)  # refused before torch sees it
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(str(path))


LEGACY = dict(
    state_dict=OrderedDict(a=torch.arange(6.0), b=torch.ones(2, dtype=torch.bool)),
    rest=dict(half=torch.ones(3, dtype=torch.bfloat16), number=2.5, text='ä', none=None),
)


def test_files_as_before_torch_1_6(tmp_path, monkeypatch):
    path = tmp_path / 'old.pth'
    torch.save(LEGACY, path, _use_new_zipfile_serialization=False)
    found, content = read_checkpoint(str(path)), path.read_bytes()
    assert torch.equal(found['state_dict']['a'], torch.arange(6.0))
    assert torch.equal(found['rest']['half'], LEGACY['rest']['half'])
    number = (6).to_bytes(8, 'little') + torch.arange(6.0).numpy().tobytes()
    assert content.count(number) == 1
    monkeypatch.setattr(torch, 'load', None)
    for evil in (
        content.replace(number, (7).to_bytes(8, 'little') + number[8:]),
        content.replace(number, number[:-4]),
        content[:-1],
        content[: content.index(number)],
        content.replace(b'FloatStorage', b'DoubleStorage'),
        content.replace(b'BoolStorage', b'LongStorage'),
        b'PK\x03\x04' + content,
    ):
        assert evil != content
        path.write_bytes(evil)
        with pytest.raises(CheckpointError) as error:
            read_checkpoint(str(path))
        assert str(path) in str(error.value)


def test_what_is_no_dictionary_is_no_checkpoint(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / 'list.pth')
    with pytest.raises(CheckpointError, match='expected a dictionary with weights, got a list'):
        read_checkpoint(str(tmp_path / 'list.pth'))


def test_our_checkpoints_need_no_allow_list(run):
    if hasattr(torch.serialization, 'get_safe_globals'):  # since torch 2.4
        added = torch.serialization.get_safe_globals()
        assert all(one.__module__.split('.')[0] == 'torch' for one in added), 'torch adds its own'
    assert torch.load(run / 'iter_6.pth', weights_only=True)['processes']['states']
