from types import SimpleNamespace

import numpy as np
from matplotlib.figure import Figure
from mmengine.logging import MessageHub

from projects.TurboTrain.turbotrain.engine import ConflictPlotHook
from tests.balancing.toys import ALWAYS, THREE, ThreeTasks, train, wrapper


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


def test_a_task_that_is_missing_for_a_while_is_drawn(tmp_path):
    model = ThreeTasks()
    optim_wrapper = wrapper(model, tasks=THREE, schedule=ALWAYS)
    optim_wrapper.message_hub = hub = MessageHub('with gaps')
    train(model, optim_wrapper, 6, without=lambda step: 'mapping' if step < 4 else '')
    hook = ConflictPlotHook(window=3)
    hook.after_train(SimpleNamespace(message_hub=hub, work_dir=str(tmp_path)))
    assert (tmp_path / 'conflict.png').exists()
