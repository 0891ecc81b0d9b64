"""A run resumed with another config says whose settings count, or follows the config's."""

from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

from tests.engine.small_runs import (
    BY_EPOCH,
    EPOCH,
    TASKS,
    WARM_UP,
    Gambler,
    Interruption,
    Numbers,
    assert_same,
    build,
    end_of,
)
from turbotrain.engine import UserError, newest_checkpoint

WRAPPER = dict(type='ConflictSuppressingOptimWrapper', tasks=TASKS)


def cosine(epochs: int) -> dict:
    return dict(type='CosineAnnealingLR', T_max=epochs * EPOCH, eta_min=1e-4, by_epoch=False)


def optimiser(kind: str = 'Adam', **settings) -> dict:
    return dict(optim_wrapper=WRAPPER | dict(optimizer=dict(type=kind, lr=0.01) | settings))


def optimiser_by(**settings) -> dict:
    return dict(optim_wrapper=optimiser()['optim_wrapper'] | settings)


def rates(runner) -> list[float]:
    """The learning rate of every iteration."""
    end_of(runner)
    return runner.message_hub.get_scalar('train/lr').data[0].tolist()


def said(folder: Path) -> str:
    """The warnings of whose settings count, of the last run in the folder."""
    log = max(folder.glob('*/*.log'), key=lambda path: path.stat().st_mtime_ns).read_text()
    return '\n'.join(line for line in log.splitlines() if 'other settings than the config' in line)


def resumed(folder: Path, epochs: int, **changes):
    checkpoint = dict(checkpoint=BY_EPOCH)
    newest = newest_checkpoint(folder)
    return build(folder, epochs=epochs, resume=True, load_from=newest, **checkpoint | changes)


def begin(folder: Path, **changes) -> Path:
    """A run of two epochs."""
    end_of(build(folder, checkpoint=BY_EPOCH, **changes))
    return folder


SCHEDULES = dict(
    cosine=cosine,
    poly=lambda n: [dict(type='PolyLR', power=0.9, end=n * EPOCH, by_epoch=False)],
    several=lambda n: [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3 * n),
        dict(type='MultiStepLR', milestones=[n // 2, n - 1], by_epoch=True),
        dict(type='CosineAnnealingMomentum', T_max=n, by_epoch=True),
    ],
)


@pytest.mark.parametrize('name', SCHEDULES)
def test_a_longer_schedule_is_followed_when_asked(name, tmp_path):
    make = SCHEDULES[name]
    begin(tmp_path / 'short', param_scheduler=make(2))
    runner = resumed(tmp_path / 'short', 4, param_scheduler=make(4), follow='config')
    got = rates(runner)
    whole = build(tmp_path / 'whole', epochs=4, checkpoint=BY_EPOCH, param_scheduler=make(4))
    expected = rates(whole)
    assert got[2 * EPOCH :] == expected[2 * EPOCH :]
    assert got[: 2 * EPOCH] != expected[: 2 * EPOCH]
    momentum = [r.optim_wrapper.param_groups[0]['betas'] for r in (runner, whole)]
    assert momentum[0] == momentum[1]
    assert 'The config counts for: param_scheduler[' in said(tmp_path / 'short')


def test_in_the_middle_of_an_epoch(tmp_path):
    """What was saved at an epoch's last iteration has not stepped the epoch's schedulers yet."""
    every = dict(by_epoch=False, interval=EPOCH)
    make = SCHEDULES['several']
    expected = rates(build(tmp_path / 'a', epochs=4, checkpoint=every, param_scheduler=make(4)))
    for newest in (f'iter_{EPOCH}', f'iter_{3 * EPOCH}'):
        runner = build(
            tmp_path / newest, epochs=4, resume=True, load_from=str(tmp_path / f'a/{newest}.pth'),
            param_scheduler=make(4), follow='config',
        )  # fmt: skip
        assert rates(runner) == expected


def test_else_the_checkpoints_is_kept_and_said(tmp_path):
    begin(tmp_path, param_scheduler=cosine(2))
    got = rates(resumed(tmp_path, 4, param_scheduler=cosine(4)))
    assert got[2 * EPOCH] == got[-1] == pytest.approx(1e-4, abs=2e-4), 'at its end for ever'
    warning = said(tmp_path)
    for words in (
        'The checkpoint counts for: param_scheduler[0]',
        f'param_scheduler[0].T_max {2 * EPOCH} (config: {4 * EPOCH})',
        'The config counts for: max_epochs 2 (config: 4)', '--resume-schedule',
    ):  # fmt: skip
        assert words in warning
    assert warning.count('other settings') == 1


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (optimiser(lr=0.02, betas=(0.8, 0.999)), 'optimizer.betas (0.9, 0.999) (config: (0.8,'),
        (optimiser(lr=0.02), 'optimizer.lr 0.01 (config: 0.02)'),
        (optimiser(weight_decay=0.1), 'optimizer.weight_decay 0 (config: 0.1)'),
        (
            optimiser_by(type='BFloat16ConflictSuppressingOptimWrapper'),
            'optim_wrapper.type ConflictSuppressingOptimWrapper (config: BFloat16',
        ),
        (dict(seed=5), 'randomness.seed 0 (config: 5'),
        (dict(batch_size=4, dataset=Numbers(28)), 'batch_size 2 (config: 4)'),
        (dict(param_scheduler=[]), 'number of param_scheduler 1 (config: 0)'),
        (dict(param_scheduler=cosine(4)), 'param_scheduler[0].T_max None (config: 28)'),
    ],
)
def test_every_other_setting_is_said(changes, words, tmp_path):
    begin(tmp_path)
    end_of(resumed(tmp_path, 3, **changes))
    assert words in said(tmp_path)


def test_the_optimisers_settings_are_followed_too(tmp_path):
    begin(tmp_path)
    changes = optimiser(lr=0.05, weight_decay=0.1)
    runner = resumed(tmp_path, 3, follow='config', **changes)
    assert rates(runner)[-1] == pytest.approx(0.05)  # the warm-up is over
    assert runner.optim_wrapper.param_groups[0]['weight_decay'] == 0.1
    moments = runner.optim_wrapper.optimizer.state_dict()['state'][0]
    assert moments['step'] == 3 * EPOCH, 'they go on'


def test_nothing_is_said_where_nothing_differs(tmp_path):
    begin(tmp_path)
    end_of(resumed(tmp_path, 2))
    assert not said(tmp_path)


MOMENTUM = dict(type='CosineAnnealingMomentum', T_max=2 * EPOCH, eta_min=0.5, by_epoch=False)


@pytest.mark.parametrize('settings', [dict(kind='Adam'), dict(kind='SGD', momentum=0.9)])
def test_a_momentum_that_is_scheduled_is_no_difference(settings, tmp_path):
    scheduled = dict(param_scheduler=[WARM_UP, MOMENTUM])
    begin(tmp_path, **scheduled, **optimiser(**settings))
    end_of(resumed(tmp_path, 2, **scheduled, **optimiser(**settings)))
    assert not said(tmp_path)


def test_other_betas_are_said_beside_a_schedule(tmp_path):
    begin(tmp_path, param_scheduler=[MOMENTUM])
    changes = dict(param_scheduler=[MOMENTUM], **optimiser(betas=(0.8, 0.99)))
    end_of(resumed(tmp_path, 2, **changes))
    assert 'optimizer.betas (0.9, 0.999) (config: (0.8, 0.99))' in said(tmp_path)


@MODELS.register_module()
class TwiceTrained(Gambler):
    """The trunk has an optimiser of its own."""

    def train_step(self, data, optim_wrapper):
        if not isinstance(optim_wrapper, OptimWrapperDict):
            return super().train_step(data, optim_wrapper)
        losses = self._run_forward(self.data_preprocessor(data, True), mode='loss')
        total, shown = self.parse_losses(losses)
        optim_wrapper['heads'].zero_grad()
        optim_wrapper['trunk'].update_params(total)
        optim_wrapper['heads'].step()
        return shown


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TwoOptimisers:
    """Builds them."""

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg=None) -> None:
        pass

    def __call__(self, model) -> OptimWrapperDict:
        trunk, heads = model.trunk.parameters(), [*model.box.parameters(), *model.path.parameters()]
        trunk, heads = (OptimWrapper(torch.optim.Adam(own, lr=0.01)) for own in (trunk, heads))
        return OptimWrapperDict(trunk=trunk, heads=heads)


SEVERAL = dict(
    model=dict(type='TwiceTrained'), optim_wrapper=dict(constructor='TwoOptimisers'),
    param_scheduler=dict(trunk=[WARM_UP], heads=[cosine(2)]),
)  # fmt: skip


def end_of_several(runner) -> dict[str, torch.Tensor]:
    runner.train()
    end = {name: value.clone() for name, value in runner.model.state_dict().items()}
    for name, own in runner.optim_wrapper.items():
        for i, state in own.optimizer.state_dict()['state'].items():
            end |= {f'{name}.{i}.{key}': torch.as_tensor(value) for key, value in state.items()}
    return end


def test_several_optimisers_go_on_as_if_there_had_been_no_end(tmp_path):
    whole = end_of_several(build(tmp_path / 'whole', **SEVERAL))
    with pytest.raises(Interruption):
        end_of_several(build(tmp_path / 'parts', interrupt=EPOCH + 4, **SEVERAL))
    newest = newest_checkpoint(tmp_path / 'parts')
    runner = build(tmp_path / 'parts', resume=True, load_from=newest, **SEVERAL)
    assert_same(end_of_several(runner), whole)
    assert not said(tmp_path / 'parts')
    with pytest.raises(UserError, match='resume-schedule config wants one optimiser'):
        resumed(tmp_path / 'parts', 3, follow='config', **SEVERAL).train()


def test_several_optimisers_and_one_do_not_go_on_from_each_other(tmp_path):
    build(tmp_path / 'several', epochs=1, **SEVERAL).train()
    begin(tmp_path / 'one', model=SEVERAL['model'])
    with pytest.raises(UserError, match='the checkpoint has several, the config one'):
        resumed(tmp_path / 'several', 3, model=SEVERAL['model']).train()
    with pytest.raises(UserError, match='the checkpoint has one, the config several'):
        resumed(tmp_path / 'one', 3, **SEVERAL).train()


@MODELS.register_module()
class WideGambler(Gambler):
    """More parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.more = torch.nn.Linear(8, 8)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (
            dict(model=dict(type='WideGambler')),
            'is of another model than the config: it has no more.bias',
        ),
        (
            optimiser_by(paramwise_cfg=dict(custom_keys=dict(box=dict(lr_mult=2.0)))),
            r'of 10 parameters in 1 groups, .* 10 parameters in 10 groups.*another optim_wrapper.c',
        ),
        (optimiser('SGD', momentum=0.9), r'of optimiser Adam, the config has SGD, whose.*momentum'),
        (
            dict(follow='config', param_scheduler=dict(type='ReduceOnPlateauLR', monitor='score')),
            'ReduceOnPlateauLR follows the results of validation',
        ),
    ],
)
def test_what_cannot_go_on_is_refused_in_a_sentence(changes, words, tmp_path):
    begin(tmp_path)
    with pytest.raises(UserError, match=words):
        end_of(resumed(tmp_path, 3, **changes))
