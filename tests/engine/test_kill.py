"""kill -9 at random moments, then --resume: the end is that of an uninterrupted run."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.engine.small_runs import Numbers, build, end_of, free_port, start
from tools.endurance.kill_resume import end_of as saved_end_of
from tools.endurance.kill_resume import same, unfinished
from turbotrain.engine import newest_checkpoint

SLOW = 0.02  # seconds a sample takes to load, so that there is time to be killed


class SlowNumbers(Numbers):
    def __getitem__(self, i: int) -> dict:
        time.sleep(SLOW)
        return super().__getitem__(i)


def train(rank: int, size: int, port: int, folder: Path) -> None:
    """Go on, if there is something to go on from, to the end."""
    kwargs = dict(dataset=SlowNumbers(20), load_from=newest_checkpoint(folder))
    if size > 1:
        os.environ['LOCAL_RANK'] = str(rank)
        torch.distributed.init_process_group(
            'gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=size
        )
        kwargs['launcher'] = 'pytorch'
    end_of(build(folder, resume=kwargs['load_from'] is not None, **kwargs))


def begin(folder: Path, size: int) -> list:
    port = free_port()
    return [start(train, rank, size, port, folder) for rank in range(size)]


def finish(ranks: list) -> None:
    for process in ranks:
        process.join(60)
        assert process.exitcode == 0


@pytest.mark.parametrize(('size', 'moments'), [(1, ('starting', 'writing')), (2, ('training',))])
def test_kills(size, moments, tmp_path):
    chance = random.Random(size)
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    parts.mkdir()
    finish(begin(whole, size))
    for moment in moments:
        ranks, known = begin(parts, size), set(parts.glob('*.pth'))
        if moment == 'starting':
            time.sleep(chance.uniform(0, 0.5))
        else:
            while not set(parts.glob('*.pth')) - known:
                assert all(process.exitcode is None for process in ranks)
            while moment == 'writing' and not unfinished(parts):
                assert all(process.exitcode is None for process in ranks)
            if moment == 'training':
                time.sleep(chance.uniform(0, 3 * SLOW))
        victim = chance.choice(ranks)
        os.kill(victim.pid, signal.SIGKILL)
        for process in ranks:
            process.join(30)
            assert process.exitcode not in (0, None), 'the others end, and not as if all were well'
        assert victim.exitcode == -signal.SIGKILL
    finish(begin(parts, size))
    assert saved_end_of(parts)['iter'] == 20 // size
    assert same(saved_end_of(parts), saved_end_of(whole))


def test_ends_that_differ_in_a_bit_are_told_apart():
    one = dict(a=[torch.tensor([1.0, 2.0])], b=(1, 'x', None))
    assert same(one, json.loads('{"b": [1, "x", null]}') | dict(a=[torch.tensor([1.0, 2.0])]))
    for other in ([torch.tensor([1.0, 2.0 + 2e-7])], [torch.tensor([1.0, 2.0]).double()], []):
        assert not same(one, one | dict(a=other))
    assert not same(one, dict(a=one['a']))
