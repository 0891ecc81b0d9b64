"""A run resumed with another config says whose settings count, or follows the config's."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

from tests.engine.small_runs import BATCH, SAMPLES, TASKS, Gambler, Numbers, build, end_of
from turbotrain.engine import UserError, newest_checkpoint

EPOCH = SAMPLES // BATCH
BY_EPOCH = dict(by_epoch=True, interval=1)
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
