from types import SimpleNamespace

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
