"""What the others do when one process is gone, and what is said of a data worker that died."""

import os
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS

from tests.engine.small_runs import Gambler, Numbers, free_port, new_queue, start
from turbotrain.commands import explain, launch
from turbotrain.datasets.readers import last_read, read_bytes
from turbotrain.engine.process_watch import ProcessWatch, is_loss_of_a_peer

PATIENCE = 3.0  # seconds


def work_together(rank: int, port: int, out: Path, ready, what: str) -> None:
    """Collectives without end, until something happens in process 1 (or 0)."""
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 2)
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.distributed.init_process_group('gloo', rank=rank, world_size=2)
    with ProcessWatch(PATIENCE):
        for step in range(10**6):
            torch.distributed.all_reduce(torch.ones(1))
            time.sleep(0.01)
            if step == 20:
                ready.put(rank)
            if step == 50 and what == 'raises' and rank == 1:
                raise ValueError('this sample is bad')
            if step == 50 and what == 'ends':
                # One is long through while the other still has something to write.
                time.sleep(2.5 if rank else 0)
                return


def run(what: str, folder: Path) -> tuple[list, list[Path]]:
    port, ready = free_port(), new_queue()
    outs = [folder / f'{rank}.txt' for rank in range(2)]
    ranks = [start(work_together, rank, port, outs[rank], ready, what) for rank in range(2)]
    for _ in ranks:
        ready.get(timeout=300)
    return ranks, outs


@pytest.mark.parametrize(
    ('what', 'victim', 'words'),
    [
        (signal.SIGKILL, 1, 'error: process 1 ({host}, pid {pid}) gave no sign for 3 s'),
        (signal.SIGSTOP, 1, 'error: process 1 ({host}, pid {pid}) gave no sign for 3 s'),
        (signal.SIGKILL, 0, 'error: process 0, or the launcher, which keeps the store, is gone'),
        (
            'raises',
            1,
            'error: process 1 ({host}, pid {pid}) failed: ValueError: this sample is bad',
        ),
    ],
    ids=['killed', 'hangs', 'the first is killed', 'raises'],
)
def test_the_others_end_and_name_it(what, victim, words, tmp_path):
    ranks, outs = run(str(what), tmp_path)
    if what != 'raises':
        os.kill(ranks[victim].pid, what)
    begin, other = time.monotonic(), 1 - victim
    ranks[other].join(PATIENCE + 10)
    assert ranks[other].exitcode == 3
    assert time.monotonic() - begin < PATIENCE + 5
    said = outs[other].read_text()
    assert words.format(host=os.uname().nodename, pid=ranks[victim].pid) in said
    assert f'process {other} stops. Go on with --resume' in said
    ranks[victim].kill()
    ranks[victim].join()


def test_an_end_in_peace_is_no_fault(tmp_path):
    ranks, outs = run('ends', tmp_path)
    for process in ranks:
        process.join(30)
    assert [process.exitcode for process in ranks] == [0, 0]
    assert all('error' not in out.read_text() for out in outs)


def test_errors_of_a_lost_peer_are_told_from_ones_own():
    assert is_loss_of_a_peer(RuntimeError('[pair.cc:534] Connection closed by peer [127.0.0.1]'))
    assert not is_loss_of_a_peer(ValueError('connection closed by peer'))
    assert not is_loss_of_a_peer(RuntimeError('mat1 and mat2 shapes cannot be multiplied'))


class Files(torch.utils.data.Dataset):
    """Files, of which one is fatal."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> int:
        size = len(read_bytes(self.paths[i]))
        if 'fatal' in self.paths[i]:
            os.kill(os.getpid(), signal.SIGKILL)
        return size


def load_files(paths: list[str], results) -> None:
    loader = torch.utils.data.DataLoader(
        Files(paths), num_workers=2, batch_size=1, multiprocessing_context='fork'
    )
    try:
        list(loader)
    except RuntimeError as error:
        results.put(str(explain(error, '')))


def test_a_worker_that_dies_is_told_with_its_file(tmp_path):
    paths = [str(tmp_path / name) for name in ('a', 'b', 'c', 'fatal', 'd', 'e')]
    for path in paths:
        with open(path, 'wb') as file:
            file.write(b'content')
    results = new_queue()
    process = start(load_files, paths, results)
    said = results.get(timeout=300)
    process.join(20)
    assert 'a data worker died' in said and str(tmp_path / 'fatal') in said
    assert str(tmp_path / 'd') not in said


def test_long_paths_keep_their_end_and_unknown_processes_have_none(tmp_path):
    path = f'/{"x" * 600}/the_end.bin'
    with pytest.raises(ValueError, match='missing|cannot be read'):
        read_bytes(path)
    assert last_read(os.getpid()).endswith('xx/the_end.bin')
    assert last_read(os.getpid() + 1024) is None


@DATASETS.register_module()
class RegisteredNumbers(Numbers):
    """Numbers that a config can name."""


@MODELS.register_module()
class WithUnused(Gambler):
    """It has a parameter that no loss depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Linear(2, 2)


@pytest.mark.parametrize('allowed', [True, False])
def test_find_unused_parameters_has_its_effect_on_cpus(allowed, tmp_path, monkeypatch):
    for name, value in dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_PORT=free_port()).items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    cfg = Config(dict(
        model=dict(type='WithUnused'), work_dir=str(tmp_path), launcher='pytorch',
        train_dataloader=dict(
            dataset=dict(type='RegisteredNumbers'), batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1), find_unused_parameters=allowed,
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
    ))  # fmt: skip
    with nullcontext() if allowed else pytest.raises(RuntimeError, match='unused parameter'):
        launch(cfg, 'train')
