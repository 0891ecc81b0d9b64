"""Tasks that never have a loss, or never meet, are told after some steps."""

import copy

import pytest
import torch

from tests.balancing.toys import ALWAYS, NEVER, TASKS, THREE, ThreeTasks, TwoTasks, train, wrapper

FEATURES = dict(level='features', features='trunk')
TYPOS = [
    (dict(detection=['loss_*'], prediction=['los_path']), r"task 'prediction' \(los_path\)"),
    (dict(detection=['loss_*'], prediction='trajectory*'), r"task 'prediction' \(trajectory\*\)"),
    (TASKS | dict(mapping=['loss_map', 'loss_lane']), r"task 'mapping' \(loss_map, loss_lane\)"),
]


@pytest.mark.parametrize(('tasks', 'words'), TYPOS)
@pytest.mark.parametrize('settings', [{}, dict(schedule=NEVER), dict(schedule=ALWAYS) | FEATURES])
def test_a_pattern_that_never_matches_is_named_with_the_losses_there_are(tasks, words, settings):
    model = TwoTasks()
    optim_wrapper = wrapper(model, tasks=tasks, tasks_within=6, **copy.deepcopy(settings))
    train(model, optim_wrapper, 5)
    with pytest.raises(ValueError, match=f'{words} after 6 forward.*loss_box, loss_cls_a, loss_pa'):
        train(model, optim_wrapper, 1)
    off = wrapper(model, tasks=tasks, tasks_within=0, **copy.deepcopy(settings))
    train(model, off, 8)


def test_a_loss_that_nothing_can_learn_from_is_no_loss():
    model = TwoTasks()
    forward = model.forward
    model.forward = lambda **kwargs: forward(**kwargs) | dict(loss_path=torch.zeros(()))
    with pytest.raises(ValueError, match=r"no loss with a gradient .*'prediction' \(loss_path\)"):
        train(model, wrapper(model, tasks=TASKS, tasks_within=4), 4)


def test_by_default_a_task_may_be_missing_for_49_passes():
    model = ThreeTasks()
    optim_wrapper = wrapper(model, tasks=THREE, schedule=NEVER)
    train(model, optim_wrapper, 60, without=lambda step: '' if step == 49 else 'mapping')
    late = wrapper(model, tasks=THREE, schedule=NEVER)
    with pytest.raises(ValueError, match="'mapping'"):
        train(model, late, 60, without=lambda step: '' if step == 50 else 'mapping')


def test_passes_count_across_a_resume_and_other_patterns_count_anew():
    model = TwoTasks()
    settings = dict(tasks=TYPOS[0][0], tasks_within=6, schedule=NEVER)
    first = wrapper(model, **settings)
    train(model, first, 4)
    resumed = wrapper(model, **settings)
    resumed.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match='after 6 forward'):
        train(model, resumed, 2)

    good = wrapper(model, tasks=TASKS, tasks_within=6, schedule=NEVER)
    train(model, good, 1)
    again = wrapper(model, tasks=TASKS, tasks_within=6, schedule=NEVER)
    again.load_state_dict(good.state_dict())
    train(model, again, 8, without=lambda step: 'prediction')  # it is known to exist
    changed = wrapper(model, **settings)
    changed.load_state_dict(good.state_dict())
    with pytest.raises(ValueError, match='after 6 forward'):
        train(model, changed, 6)


def test_tasks_that_never_meet_are_told():
    model = TwoTasks()
    cut = dict(level='features', features='box')
    with pytest.raises(ValueError, match=r"no two of .* have met in the output of 'box'"):
        train(model, wrapper(model, tasks=TASKS, tasks_within=4, schedule=ALWAYS, **cut), 4)
    model.trunk.requires_grad_(False)
    with pytest.raises(ValueError, match=r'no two of .* have met in parameters'):
        train(model, wrapper(model, tasks=TASKS, tasks_within=4, schedule=ALWAYS), 4)
    train(model, wrapper(model, tasks=TASKS, tasks_within=4, schedule=NEVER), 8)


def test_a_single_pattern_needs_no_list():
    model, same = ThreeTasks(), ThreeTasks()
    bare = dict(detection=['loss_box', 'loss_cls_*'], prediction='loss_pat?', mapping='loss_m*')
    after = train(model, wrapper(model, tasks=bare, schedule=ALWAYS))
    for a, b in zip(after, train(same, wrapper(same, tasks=THREE, schedule=ALWAYS)), strict=True):
        assert torch.equal(a, b)


def test_a_negative_deadline_is_refused():
    with pytest.raises(ValueError, match='tasks_within'):
        wrapper(TwoTasks(), tasks=TASKS, tasks_within=-1)
