"""An interrupted run that goes on ends as one that was never interrupted, bit for bit."""

import contextlib
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.registry import HOOKS

from tests.engine.small_runs import (
    BY_EPOCH,
    EPOCH,
    Interruption,
    Numbers,
    assert_same,
    build,
    end_of,
    on_two_processes,
)
from turbotrain.engine import UserError, newest_checkpoint
from turbotrain.engine.process_state import (
    random_state,
    restore_random_state,
)


def draws() -> list[float]:
    return [random.random(), np.random.randn(), float(torch.randn(1)), random.gauss(0, 1)]  # noqa: NPY002


def test_the_state_of_every_generator_is_restored(tmp_path):
    random.gauss(0, 1), np.random.randn()  # noqa: NPY002 - half of a pair is kept for the next call
    torch.save(random_state(), tmp_path / 'state.pth')
    expected = draws()
    assert draws() != expected
    restore_random_state(torch.load(tmp_path / 'state.pth', weights_only=True))
    assert draws() == expected


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> dict:
    return end_of(build(tmp_path_factory.mktemp('whole')))


def interrupted(work_dir, iteration: int, **kwargs) -> dict:
    with pytest.raises(Interruption):
        end_of(build(work_dir, interrupt=iteration, **kwargs))
    return end_of(build(work_dir, resume=True, load_from=newest_checkpoint(work_dir), **kwargs))


# After 2 of 7, after 6, after the last of an epoch is due (7 was not saved), and in the second.
@pytest.mark.parametrize('iteration', [3, EPOCH, EPOCH + 1, EPOCH + 4, 2 * EPOCH - 1])
def test_in_the_middle_of_an_epoch(iteration, whole, tmp_path):
    assert_same(interrupted(tmp_path, iteration), whole)


def test_at_the_end_of_an_epoch(whole, tmp_path):
    every = dict(by_epoch=False, interval=EPOCH)  # saved before the epoch's end is worked off
    assert_same(interrupted(tmp_path / 'a', EPOCH + 2, checkpoint=every), whole)
    assert_same(interrupted(tmp_path / 'b', EPOCH + 2, checkpoint=BY_EPOCH), whole)


@pytest.mark.parametrize('persistent', [False, True])
def test_with_data_workers(persistent, whole, tmp_path):
    workers = dict(num_workers=2, persistent_workers=persistent)
    assert_same(interrupted(tmp_path, EPOCH + 2, **workers), whole)


def test_validation_does_not_change_training(whole, tmp_path):
    best = BY_EPOCH | dict(save_best='score', rule='greater', max_keep_ckpts=1)
    kwargs = dict(validate=True, checkpoint=best)
    assert_same(end_of(build(tmp_path / 'a', **kwargs)), whole)
    # The checkpoint was written once more in the middle of validation.
    assert_same(interrupted(tmp_path / 'b', EPOCH + 2, **kwargs), whole)
    names = sorted(path.name for path in (tmp_path / 'b').glob('*.pth'))
    assert names == ['best_score_epoch_2.pth', 'epoch_2.pth']


@HOOKS.register_module()
class KeptAverage(EMAHook):
    """Whose statistics count as those of the run's end."""

    def after_train(self, runner) -> None:
        for name, value in self.ema_model.module.named_buffers():
            runner.model.module.register_buffer(f'average_{name}'.replace('.', '_'), value)


def run_whole_and_in_parts(rank: int, folder: Path, hooks: tuple = ()) -> dict:
    torch.manual_seed(rank)
    kwargs = dict(launcher='pytorch', dataset=Numbers(20), hooks=hooks)
    ends = dict(whole=end_of(build(folder / 'whole', **kwargs)))
    with contextlib.suppress(Interruption):
        end_of(build(folder / 'parts', interrupt=5, **kwargs))
    newest = newest_checkpoint(folder / 'parts')
    ends['parts'] = end_of(build(folder / 'parts', resume=True, load_from=newest, **kwargs))
    # As NumPy arrays: tensors would travel by shared memory of a process that is gone.
    return {name: {k: v.numpy() for k, v in end.items()} for name, end in ends.items()}


def test_two_processes_with_states_of_their_own(tmp_path):
    ends = on_two_processes(run_whole_and_in_parts, tmp_path)
    for end in ends:
        for name, value in end['whole'].items():
            np.testing.assert_array_equal(end['parts'][name], value, err_msg=name)
    saved = torch.load(tmp_path / 'parts/iter_4.pth', weights_only=True)['processes']['states']
    means = [state['statistics']['trunk.1.running_mean'] for state in saved]
    assert not torch.equal(*means), 'within an epoch each process has its own'


def test_two_processes_with_an_average_of_their_own(tmp_path):
    hooks = (dict(type='KeptAverage', update_buffers=True),)
    for end in on_two_processes(run_whole_and_in_parts, tmp_path, hooks):
        assert 'average_trunk_1_running_mean' in end['whole']
        for name, value in end['whole'].items():
            np.testing.assert_array_equal(end['parts'][name], value, err_msg=name)


@pytest.mark.parametrize(('iteration', 'words'), [(5, 'there are 1 with 1'), (EPOCH + 1, 'length')])
def test_another_batch_size_is_refused(iteration, words, tmp_path):
    """In the middle of an epoch, and at its end."""
    with pytest.raises(Interruption):
        end_of(build(tmp_path, interrupt=iteration, checkpoint=dict(by_epoch=False, interval=1)))
    resumed = build(tmp_path, resume=True, load_from=newest_checkpoint(tmp_path))
    resumed._train_dataloader['batch_size'] = 1
    with pytest.raises(UserError, match=words):
        end_of(resumed)


def test_weights_to_start_from_bring_no_random_state(whole, tmp_path):
    end_of(build(tmp_path / 'before'))
    state = str(tmp_path / 'before/iter_14.pth')
    one = end_of(build(tmp_path / 'one', load_from=state))
    content = torch.load(state, weights_only=True)
    torch.save(dict(state_dict=content['state_dict'], meta={}), tmp_path / 'weights.pth')
    assert_same(one, end_of(build(tmp_path / 'two', load_from=str(tmp_path / 'weights.pth'))))
