"""Which losses are whose, and what happens where a task has none."""

import math

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper

from tests.balancing.toys import (
    ALWAYS,
    FEATURES,
    NEVER,
    TASKS,
    THREE,
    ThreeTasks,
    TwoTasks,
    train,
    wrapper,
)


@pytest.mark.parametrize(
    ('tasks', 'words'),
    [
        (dict(detection=['loss_box'], prediction=['loss_path']), ['loss_cls_a', 'no task']),
        (dict(detection=['loss_*'], prediction=['loss_path']), ['loss_path', 'more than one']),
    ],
)
def test_losses_of_no_task_or_two_are_refused_by_name(tasks, words):
    model = TwoTasks()
    with pytest.raises(ValueError) as error:
        train(model, wrapper(model, tasks=tasks, schedule=NEVER), 1)
    for word in [*words, 'detection', 'prediction']:
        assert word in str(error.value)


def test_a_task_without_a_graph_adds_nothing():
    model = TwoTasks()
    forward = model.forward
    model.forward = lambda **kwargs: forward(**kwargs) | dict(loss_path=torch.zeros(()))
    after = train(model, wrapper(model, tasks=TASKS, schedule=ALWAYS))
    stock = TwoTasks()
    forward_stock = stock.forward
    stock.forward = lambda **kwargs: forward_stock(**kwargs) | dict(loss_path=torch.zeros(()))
    for a, b in zip(after, train(stock, wrapper(stock, OptimWrapper)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_a_missing_task_is_missing_in_the_scalars_too():
    model = ThreeTasks()
    optim_wrapper = wrapper(model, tasks=THREE, schedule=dict(type='PeriodicSchedule', free=1))
    optim_wrapper.message_hub = hub = MessageHub('missing')
    train(model, optim_wrapper, 8, without=lambda step: 'mapping' if step == 3 else '')
    suppressing = hub.get_scalar('train/suppressing').data[0]
    assert suppressing.tolist() == [0, 1] * 4
    for name in ('task_norm/mapping', 'task_weight/mapping', 'cosine/detection~mapping'):
        values = hub.get_scalar(f'train/{name}').data[0]
        assert [math.isnan(value) for value in values] == [False, True, False, False], name
    assert not any(map(math.isnan, hub.get_scalar('train/cosine/detection~prediction').data[0]))


class EmptyLists(TwoTasks):
    """Returns an empty list instead of a loss, as a head without any level does."""

    def forward(self, x, without='', mode='loss'):
        losses = super().forward(x)
        if without == 'box':
            losses['loss_cls_a'] = []
        elif without:
            losses |= {name: [] for name in losses if name.startswith(('loss_box', 'loss_cls'))}
        return losses


class MissingLosses(EmptyLists):
    """Leaves out what is an empty list there."""

    def forward(self, x, without='', mode='loss'):
        return {
            k: v for k, v in super().forward(x, without).items() if isinstance(v, torch.Tensor) or v
        }


@pytest.mark.parametrize('level', [{}, FEATURES])
def test_an_empty_list_of_losses_is_no_loss(level):
    ours, other = EmptyLists(), MissingLosses()
    without = ['', 'box', 'detection'].__getitem__
    found, expected = (
        train(m, wrapper(m, tasks=TASKS, schedule=ALWAYS, **level), 3, without=without)
        for m in (ours, other)
    )
    assert all(map(torch.equal, found, expected))


def test_an_update_of_one_task_measures_no_conflict():
    model = TwoTasks()
    optim_wrapper = wrapper(model, tasks=TASKS, schedule=dict(type='WhenNeededSchedule'))
    optim_wrapper.message_hub = hub = MessageHub('alone')
    train(model, optim_wrapper, 1, without=lambda step: 'prediction')
    assert optim_wrapper.schedule.mean is None and optim_wrapper.schedule.suppresses(1)
    assert 'train/task_cosine' not in hub.log_scalars
    optim_wrapper.schedule.observe(1, -0.3)
    train(model, optim_wrapper, 1, without=lambda step: 'prediction')
    assert optim_wrapper.schedule.mean == -0.3
    train(model, optim_wrapper, 1)
    assert len(hub.get_scalar('train/task_conflict').data[0]) == 1


def test_a_model_that_weighs_its_losses_elsewhere_is_refused():
    for settings in ({}, dict(accumulative_counts=3), dict(schedule=ALWAYS)):
        model = TwoTasks()
        train(model, wrapper(model, tasks=TASKS, **settings), 1)
        parse = model.parse_losses
        model.parse_losses = lambda losses, parse=parse: (0.5 * parse(losses)[0], {})
        with pytest.raises(RuntimeError, match=r'add up to .*parse_losses made'):
            train(model, wrapper(model, tasks=TASKS, **settings), 1)
