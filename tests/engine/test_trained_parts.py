"""Stage 2 learns which of stage 1's weights were trained, and which only lay beside them."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import Runner

from tests.engine.small_runs import (
    Gambler,
    Interruption,
    Numbers,
    assert_same,
    build,
    end_of,
    on_two_processes,
)
from turbotrain.engine import newest_checkpoint
from turbotrain.errors import UserError


@MODELS.register_module()
class Burdened(Gambler):
    """With a layer that nothing reads, one that is frozen, and one that gets zeros only."""

    def __init__(self) -> None:
        super().__init__()
        self.unread = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4))
        self.frozen = torch.nn.Linear(8, 8).requires_grad_(False)
        self.muted = torch.nn.Linear(4, 1)
        self.plain, self.absent = torch.nn.Identity(), None

    def forward(self, x, index=None, mode='loss', **kwargs):
        found = super().forward(x, index, mode)
        if mode == 'loss':
            found['loss_box'] = found['loss_box'] + 0 * self.muted(x).sum()
        return found


BURDENED = dict(model=dict(type='Burdened'))
IDLE = {'unread', 'frozen', 'muted'}


def record(path: str | Path) -> set[str]:
    return set(torch.load(path, weights_only=True)['meta']['trained'])


def parts(names: set[str]) -> set[str]:
    return {name.split('.')[0] for name in names}


@pytest.fixture(scope='module')
def stage_one(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp('stage_one')
    end_of(build(folder, epochs=1, **BURDENED))
    return newest_checkpoint(folder)


def test_the_record_names_what_had_a_gradient(stage_one):
    parameters = {name for name, _ in Burdened().named_parameters()}
    assert record(stage_one) == {n for n in parameters if n.split('.')[0] not in IDLE}


def report(checkpoint: str, folder: Path) -> dict[str, str]:
    """What the hook says of a start from a checkpoint, by its heading."""
    runner = Runner(
        dict(type='Burdened'), str(folder), custom_hooks=[dict(type='TransferReportHook')],
        load_from=checkpoint, experiment_name=folder.name,
    )  # fmt: skip
    runner.load_or_resume()
    log = next(folder.glob('*/*.log')).read_text()
    line = next(line for line in log.splitlines() if ' weights ' in line)
    return dict(part.split(': ', 1) for part in line.split(' weights ')[1].split('; '))


def test_the_report_tells_trained_from_carried_along(stage_one, tmp_path):
    found = report(stage_one, tmp_path)
    sizes = dict.fromkeys(['trunk', 'box', 'path', *IDLE], 0)
    for name, value in Burdened().state_dict().items():
        sizes[name.split('.')[0]] += value.numel()
    for heading, names in (('trained', {*sizes} - IDLE), ('carried along untrained', IDLE)):
        told = re.findall(r'(\w+) \(([\d,]+) values\)', found[heading])
        assert dict(told) == {name: f'{sizes[name]:,}' for name in names}
    assert found['fresh'] == found['dropped'] == 'none'


def test_a_checkpoint_that_does_not_say_is_taken_as_a_whole(stage_one, tmp_path):
    content = torch.load(stage_one, weights_only=True)
    del content['meta']['trained']
    torch.save(content, tmp_path / 'old.pth')
    assert report(str(tmp_path / 'old.pth'), tmp_path / 'run').keys() == {
        'taken', 'fresh', 'dropped'
    }  # fmt: skip


def test_the_record_goes_on_through_resuming_and_stages(stage_one, tmp_path):
    resumed = build(tmp_path / 'a', epochs=2, resume=True, load_from=stage_one, **BURDENED)
    end_of(resumed)
    assert record(newest_checkpoint(tmp_path / 'a')) == record(stage_one)
    # A later stage in which nothing but one head is trained.
    later = build(tmp_path / 'b', epochs=1, load_from=stage_one, **BURDENED)
    later.model.trunk.requires_grad_(False)
    end_of(later)
    assert record(newest_checkpoint(tmp_path / 'b')) == record(stage_one)
    fresh = build(tmp_path / 'c', epochs=1, **BURDENED)
    fresh.model.trunk.requires_grad_(False)
    end_of(fresh)
    assert parts(record(newest_checkpoint(tmp_path / 'c'))) == {'box', 'path'}


def train_on_two(rank: int, folder: Path) -> set[str]:
    end_of(build(folder, epochs=1, launcher='pytorch', dataset=Numbers(16), **BURDENED))
    return record(newest_checkpoint(folder))


def test_on_two_processes(stage_one, tmp_path):
    assert on_two_processes(train_on_two, tmp_path) == [record(stage_one)] * 2


ANEW = dict(type='TransferReportHook', anew=('box',))


class LookAtWeights(Hook):
    """Keeps them as they are when training begins."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.kept: dict[str, torch.Tensor] = {}

    def before_train(self, runner) -> None:
        self.kept = {key: value.clone() for key, value in runner.model.state_dict().items()}


def test_what_starts_anew_does_so_once(stage_one, tmp_path):
    """At the start of a stage, and not where it is resumed."""
    settings = dict(hooks=(ANEW,), **BURDENED)
    runner, look = build(tmp_path / 'whole', load_from=stage_one, **settings), LookAtWeights()
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.register_hook(look)
    whole = end_of(runner)
    given = torch.load(stage_one, weights_only=True)['state_dict']
    for key, value in look.kept.items():
        assert torch.equal(value, (before if key.startswith('box.') else given)[key]), key
    assert not torch.equal(before['box.weight'], given['box.weight'])
    assert 'fresh: box; dropped: box' in next((tmp_path / 'whole').glob('*/*.log')).read_text()
    parts = tmp_path / 'parts'
    with pytest.raises(Interruption):
        end_of(build(parts, load_from=stage_one, interrupt=9, **settings))
    resumed = build(parts, resume=True, load_from=newest_checkpoint(parts), **settings)
    assert_same(end_of(resumed), whole)


def test_a_test_takes_all_that_was_trained(stage_one, tmp_path):
    loader = dict(
        dataset=Numbers(), batch_size=2, collate_fn=dict(type='default_collate'),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )  # fmt: skip
    runner = Runner(
        dict(type='Burdened'), str(tmp_path), custom_hooks=[ANEW], load_from=stage_one,
        experiment_name='tested', test_dataloader=loader, test_cfg={},
        test_evaluator=dict(type='GamblingMetric'),
    )  # fmt: skip
    runner.test()
    given = torch.load(stage_one, weights_only=True)['state_dict']
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, given[key]), key


def test_a_module_that_is_not_there_cannot_start_anew(stage_one, tmp_path):
    hook = dict(type='TransferReportHook', anew=('neck',))
    with pytest.raises(UserError, match=r"anew: the model has no \['neck'\], only \['box', "):
        end_of(build(tmp_path, load_from=stage_one, hooks=(hook,), **BURDENED))


def test_the_modules_of_a_whole_model_stay_together(stage_one, tmp_path):
    """Heads have learnt to read the maps of the module: fine-tuning once more keeps both."""
    hook = dict(type='TransferReportHook', anew=('trunk',), fresh=('box',))
    end_of(build(tmp_path, load_from=stage_one, epochs=1, hooks=(hook,), **BURDENED))
    assert 'fresh: none; dropped: none' in next(tmp_path.glob('*/*.log')).read_text()


def test_what_has_no_weights_may_start_anew(stage_one, tmp_path):
    """As F-Cooper's fusion, and a model without fusion whose config inherits the hook."""
    hook = dict(type='TransferReportHook', anew=('plain', 'absent'))
    end_of(build(tmp_path, load_from=stage_one, epochs=1, hooks=(hook,), **BURDENED))
    assert 'fresh: none; ' in next(tmp_path.glob('*/*.log')).read_text()
