"""All processes, and every checkpoint that is looked at, hold the same statistics."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from tests.engine.small_runs import Numbers, build, end_of, on_two_processes

MEAN = 'trunk.1.running_mean'
LOOPS = {
    'epochs': dict(checkpoint=dict(by_epoch=True, interval=1)),
    'epochs, saved by iterations': {},
    'iterations': dict(iterations=6),
}
AVERAGES = {'none': (), 'plain': (dict(type='EMAHook'),)}
AVERAGES['own statistics'] = (dict(type='EMAHook', update_buffers=True),)


@HOOKS.register_module()
class SeenHook(Hook):
    """What a model holds while it validates, and right after."""

    def __init__(self) -> None:
        self.during, self.after = [], []

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        if batch_idx == 0:
            self.during.append(mean_of(runner))

    def after_val(self, runner) -> None:
        self.after.append(mean_of(runner))


def mean_of(runner) -> np.ndarray:
    return runner.model.module.state_dict()[MEAN].numpy().copy()


def train(rank: int, folder: Path, changes: dict, hooks: tuple = ()) -> dict:
    torch.manual_seed(rank)
    seen = SeenHook()
    runner = build(
        folder, launcher='pytorch', dataset=Numbers(20), hooks=(*hooks, seen), validate=True,
        **changes,
    )  # fmt: skip
    end = end_of(runner)[MEAN].numpy()
    return dict(end=end, during=seen.during, after=seen.after)


@pytest.mark.parametrize('loop', LOOPS)
def test_the_last_checkpoint_holds_what_all_end_with(loop, tmp_path):
    one, other = on_two_processes(train, tmp_path, LOOPS[loop])
    np.testing.assert_array_equal(one['end'], other['end'])
    name = (tmp_path / 'last_checkpoint').read_text()
    saved = torch.load(tmp_path / name, weights_only=True)['state_dict'][MEAN]
    np.testing.assert_array_equal(saved.numpy(), one['end'])


@pytest.mark.parametrize('loop', LOOPS)
def test_all_validate_with_the_same(loop, tmp_path):
    one, other = on_two_processes(train, tmp_path, LOOPS[loop])
    assert len(one['during']) == 2
    np.testing.assert_array_equal(one['during'], other['during'])


@pytest.mark.parametrize('average', AVERAGES)
@pytest.mark.parametrize('loop', LOOPS)
def test_the_best_checkpoint_holds_what_was_validated(loop, average, tmp_path):
    changes = {'checkpoint': {}} | LOOPS[loop]
    changes['checkpoint'] = changes['checkpoint'] | dict(save_best='score', rule='greater')
    one, other = on_two_processes(train, tmp_path, changes, AVERAGES[average])
    np.testing.assert_array_equal(one['during'], other['during'])
    (best,) = tmp_path.glob('best_score_*.pth')
    saved = torch.load(best, weights_only=True)['state_dict'][MEAN].numpy()
    assert any((saved == seen).all() for seen in one['during'])


def test_a_validation_on_the_way_leaves_each_its_own(tmp_path):
    one, other = on_two_processes(train, tmp_path, LOOPS['iterations'])
    assert not np.array_equal(one['after'][0], other['after'][0])
    np.testing.assert_allclose(
        (one['after'][0] + other['after'][0]) / 2, one['during'][0], rtol=1e-6
    )
