"""However a command ends, its workers end with it, and its partial files go."""

import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from turbotrain.commands import run_tool
from turbotrain.whole_file import whole_file, write_whole
from turbotrain.workers import worker_pool

# A new interpreter would import for seconds what this one has.
FORK = multiprocessing.get_context('fork')


def _work(folder: str) -> None:
    """Sleep; the file with this process's number goes when Python cleans up."""
    path = Path(folder) / str(os.getpid())
    try:
        path.touch()  # the signal may come at once
        time.sleep(60)
    finally:
        path.rename(path.with_name(f'{path.name}.ended'))


def _command(folder: str, error: bool) -> None:
    """Two workers with more to do than they can, and a file half written."""

    def main() -> None:
        with whole_file(f'{folder}/result') as file, worker_pool(2) as pool:
            file.write(b'half')
            results = pool.map(_work, [folder] * 9)
            if error:
                while len(list(Path(folder).glob('[0-9]*'))) < 2:
                    time.sleep(0.01)
                raise OSError(errno.ENOSPC, 'No space left on device')
            next(results)

    run_tool(main)


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state not in 'ZX'


@pytest.mark.parametrize('how', ['SIGTERM', 'SIGINT', 'SIGKILL', 'a full disk'])
def test_workers_end_with_their_command(how, tmp_path):
    process = FORK.Process(target=_command, args=(str(tmp_path), how == 'a full disk'))
    process.start()
    wait_for(lambda: len(list(tmp_path.glob('[0-9]*'))) >= 2)
    workers = [int(path.name.partition('.')[0]) for path in tmp_path.glob('[0-9]*')]
    if how.startswith('SIG'):
        os.kill(process.pid, signal.Signals[how])
    process.join(60)
    wait_for(lambda: not any(map(alive, workers)))
    assert process.exitcode == (-9 if how == 'SIGKILL' else 1)
    left = {path.name for path in tmp_path.iterdir()}
    # No more than they had begun; each cleaned up, and so did the command where it could.
    assert {f'{pid}.ended' for pid in workers} <= left
    assert left - {f'{pid}.ended' for pid in workers} <= (
        {'result.partial'} if how == 'SIGKILL' else set()
    )


class _Slow:
    """Its deletion takes a while, and Python drops what is raised meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __del__(self) -> None:
        self.path.touch()
        time.sleep(60)


def _delete_slowly(folder: str) -> None:
    def main() -> None:
        with whole_file(f'{folder}/result') as file:
            file.write(b'half')
            _Slow(Path(folder) / 'deleting')
            time.sleep(60)

    run_tool(main)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_signal_that_python_drops_is_raised_again(tmp_path):
    process = FORK.Process(target=_delete_slowly, args=(str(tmp_path),))
    process.start()
    wait_for((tmp_path / 'deleting').exists)
    os.kill(process.pid, signal.SIGTERM)
    process.join(30)
    assert process.exitcode == 1
    assert [path.name for path in tmp_path.iterdir()] == ['deleting']


@pytest.mark.parametrize(
    'error', [OSError(errno.ENOSPC, 'full'), KeyboardInterrupt(), ValueError()]
)
def test_files_are_written_whole_or_not_at_all(error, tmp_path):
    write_whole(tmp_path / 'a', 'old Ä')
    with pytest.raises(type(error)) as raised, whole_file(tmp_path / 'a') as file:
        file.write(b'new')
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ['a']
    assert (tmp_path / 'a').read_text(encoding='utf-8') == 'old Ä'
    if isinstance(error, OSError):
        assert raised.value.filename == str(tmp_path / 'a')


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (OSError(errno.ENOSPC, 'No space left'), 'a file: No space left; make room and repeat'),
        (OSError(errno.EDQUOT, 'Quota', 'x.npz'), 'x.npz: Quota; make room and repeat'),
        (KeyboardInterrupt(), 'interrupted'),
    ],
)
def test_commands_end_with_a_sentence(error, said):
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        run_tool(main)
    assert end.value.code == f'error: {said}'


class _Tensors:
    """More samples of many tensors than a pipe holds, so that a worker waits to hand them over."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> list:
        (Path(self.folder) / str(os.getpid())).touch()
        return [torch.zeros(8) for _ in range(2000)]


def _training(folder: str) -> None:
    """A loader of which one sample is used, and the next is not for a minute."""

    def main() -> None:
        loader = DataLoader(_Tensors(folder), num_workers=2, batch_size=None, prefetch_factor=8)
        next(iter(loader))
        time.sleep(60)

    run_tool(main)


def test_data_workers_end_with_a_training_that_is_killed(tmp_path):
    process = FORK.Process(target=_training, args=(str(tmp_path),))
    process.start()
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    time.sleep(0.5)  # they fill their pipe
    process.kill()
    process.join(60)
    wait_for(lambda: not any(map(alive, workers)), seconds=10)
