from types import SimpleNamespace

import numpy as np
from matplotlib.figure import Figure
from mmengine.logging import MessageHub

from tests.balancing.toys import ALWAYS, TASKS, THREE, ThreeTasks, TwoTasks, train, wrapper
from turbotrain.engine import ConflictPlotHook


def test_conflict_is_drawn(tmp_path):
    model = ThreeTasks()
    optim_wrapper = wrapper(model, tasks=THREE, schedule=ALWAYS)
    optim_wrapper.message_hub = MessageHub('drawn')
    runner = SimpleNamespace(message_hub=optim_wrapper.message_hub, work_dir=str(tmp_path))
    hook = ConflictPlotHook(window=3)
    hook.after_train(runner)
    assert not (tmp_path / 'conflict.png').exists()  # nothing was measured
    train(model, optim_wrapper, 8)
    hook.after_train_epoch(runner)
    assert (tmp_path / 'conflict.png').read_bytes()[:4] == b'\x89PNG'


def test_values_stand_at_their_iterations_and_gaps_stay_gaps():
    hook, axes = ConflictPlotHook(window=2), Figure().subplots()
    hook._plot(axes, np.array([3, 6, 9, 12]), dict(a=np.array([1.0, 3.0, np.nan, 5.0])))
    dots, line = axes.lines
    assert dots.get_xdata().tolist() == [3, 6, 9, 12]
    assert line.get_ydata().tolist() == [1.0, 2.0, 3.0, 5.0]
    assert np.isnan(hook._smooth(np.array([np.nan, 1.0]))).tolist() == [True, False]


def test_the_rate_stands_at_the_iterations_it_was_measured_in(tmp_path):
    """Before two tasks have met there is none; while one is alone it stays."""
    model = TwoTasks()
    optim_wrapper = wrapper(model, tasks=TASKS, schedule=ALWAYS)
    optim_wrapper.message_hub = hub = MessageHub('rate')
    alone = [True, False, False, True, True]
    train(model, optim_wrapper, 5, without=lambda step: 'prediction' if alone[step] else '')
    rate = hub.get_scalar('train/conflict_rate').data[0]
    assert len(rate) == 4 and rate[1] == rate[2] == rate[3]
    assert len(hub.get_scalar('train/task_conflict').data[0]) == 2


def test_a_task_that_is_missing_for_a_while_is_drawn(tmp_path):
    model = ThreeTasks()
    optim_wrapper = wrapper(model, tasks=THREE, schedule=ALWAYS)
    optim_wrapper.message_hub = hub = MessageHub('with gaps')
    train(model, optim_wrapper, 6, without=lambda step: 'mapping' if step < 4 else '')
    hook = ConflictPlotHook(window=3)
    hook.after_train(SimpleNamespace(message_hub=hub, work_dir=str(tmp_path)))
    assert (tmp_path / 'conflict.png').exists()
