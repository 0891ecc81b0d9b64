"""Whatever a run puts into its checkpoints can be read again, or is refused by name."""

from collections import Counter, OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS

from tests.engine.small_runs import BATCH, SAMPLES, Interruption, assert_same, build, end_of
from turbotrain.engine import UserError, newest_checkpoint, read_checkpoint
from turbotrain.engine.hooks.plain_checkpoint import PlainCheckpointHook, _plain

STEPS = 2 * SAMPLES // BATCH
Pair = namedtuple('Pair', 'a b')


def cycle(**changes) -> list[dict]:
    return [dict(type='OneCycleLR', eta_max=0.01, total_steps=STEPS, by_epoch=False) | changes]


@pytest.mark.parametrize(
    'schedule',
    [
        cycle(), cycle(anneal_strategy='linear', three_phase=True),
        [dict(type='MultiStepLR', milestones=[3, 9, 9], by_epoch=False)],
        [dict(type='ReduceOnPlateauLR', monitor='score', rule='less', patience=0)],
    ],
)  # fmt: skip
def test_a_resumed_schedule_goes_on(schedule, tmp_path):
    kwargs = dict(param_scheduler=schedule, validate=True)
    whole = end_of(build(tmp_path / 'whole', **kwargs))
    with pytest.raises(Interruption):
        end_of(build(tmp_path / 'parts', interrupt=9, **kwargs))
    newest = newest_checkpoint(tmp_path / 'parts')
    assert_same(end_of(build(tmp_path / 'parts', resume=True, load_from=newest, **kwargs)), whole)


@METRICS.register_module()
class AnyMetric(BaseMetric):
    """Returns what it is given."""

    def __init__(self, **metrics) -> None:
        super().__init__()
        self.metrics = metrics

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        return dict(self.metrics)


def run(folder: Path, **metrics) -> dict:
    """The last checkpoint of a run whose metric returns these."""
    runner = build(folder, validate=True)
    runner._val_evaluator = [dict(type='AnyMetric', **metrics)]
    end_of(runner)
    return read_checkpoint(newest_checkpoint(folder))['message_hub']['runtime_info']


def test_what_metrics_return(tmp_path):
    info = run(
        tmp_path, array=np.arange(3.0), one=np.float32(2), names=np.array(['a', 'b']),
        nested={'list': [np.float64(1)], np.str_('key'): Pair(np.int64(1), np.bool_(True))},
        tensor=torch.ones(2), text='x', nothing=None,
    )  # fmt: skip
    assert info['val/array'] == [0, 1, 2] and info['val/names'] == ['a', 'b']
    assert info['val/nested'] == dict(list=[1.0], key=(1, True))
    assert torch.equal(info['val/tensor'], torch.ones(2))
    assert info['val/text'] == 'x' and info['val/nothing'] is None
    end_of(build(tmp_path, epochs=3, resume=True, load_from=newest_checkpoint(tmp_path)))


def test_what_cannot_be_read_again_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match='message_hub.runtime_info.val/curve.1: .*builtins.range'):
        run(tmp_path, curve=[1, range(3)])
    newest_checkpoint(tmp_path)  # all that were written


@HOOKS.register_module()
class AddHook(Hook):
    """Something of its own in every checkpoint, as late as a hook can."""

    priority = 'VERY_LOW'

    def __init__(self, value: object) -> None:
        self.value = value

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['own'] = self.value


def test_other_hooks_are_looked_at_before_the_first_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r'own.state: .*test_plain_checkpoints.AddHook'):
        end_of(build(tmp_path, hooks=(AddHook(dict(state=AddHook(1))),)))
    assert not list(tmp_path.glob('*.pth'))


def test_what_passes_can_be_read(tmp_path):
    weights = OrderedDict(w=torch.ones(1))
    weights._metadata = {'': dict(version=2)}
    values = dict(
        numbers=(1, 2.5, 2**80, True, 1j), text='a', raw=b'b', none=None, some={1, 2},
        size=torch.Size((1, 2)), kind=torch.float32, device=torch.device('cpu'),
        counter=Counter(a=1), array=np.eye(2), parameter=torch.nn.Parameter(torch.ones(2)),
        weights=weights,
    )  # fmt: skip
    torch.save(_plain(values), tmp_path / 'a.pth')
    found = read_checkpoint(str(tmp_path / 'a.pth'))
    assert found['array'] == [[1, 0], [0, 1]] and found['numbers'] == values['numbers']
    assert found['weights']._metadata == weights._metadata


def test_histories_are_tensors_and_lists_of_earlier_versions_are_read(tmp_path):
    """Lists of a long training take seconds to read."""
    end_of(build(tmp_path))
    hub = read_checkpoint(newest_checkpoint(tmp_path))['message_hub']
    histories = hub['log_scalars']
    assert len(histories['train/loss']['values']) == STEPS
    assert all(isinstance(h[name], torch.Tensor) for h in histories.values() for name in h)
    old = {k: {name: h[name].tolist() for name in h} for k, h in histories.items()}
    hook, read = PlainCheckpointHook(), []
    for scalars in (histories, old):
        hook.after_load_checkpoint(None, dict(message_hub=dict(log_scalars=scalars)))
        read.append(scalars['train/loss'])
    assert read[0].mean(5) == read[1].mean(5) and read[0].current() == read[1].current()
