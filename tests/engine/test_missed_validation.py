"""No validation is lost to an interruption between a checkpoint and its end."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS, METRICS

from tests.engine.small_runs import (
    BY_EPOCH,
    EPOCH,
    GamblingMetric,
    Interruption,
    Numbers,
    assert_same,
    build,
    end_of,
    on_two_processes,
)
from turbotrain.engine import newest_checkpoint
from turbotrain.report.scalars import read_scalars

EPOCHS = dict(validate=True, checkpoint=BY_EPOCH | dict(save_best='score', rule='greater'))
SCORES = [1.0, 3.0, 2.0, 2.5]
ITERATIONS = dict(validate=True, iterations=8)  # validated after 4 and 8, saved after every second


@HOOKS.register_module()
class StopValidationHook(Hook):
    """Raise in the validation after so many iterations."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.iteration:
            raise Interruption


def validations(work_dir: Path) -> list[tuple]:
    """Step and score of each."""
    log = read_scalars(sorted(work_dir.glob('*/vis_data/scalars.json')))
    return [(entry['step'], entry['score']) for entry in log.validation]


def logged(work_dir: Path) -> Iterator[str]:
    """All validations ever."""
    for log in work_dir.glob('*/vis_data/scalars.json'):
        yield from (line for line in log.open() if '"score"' in line)


def stopped(work_dir: Path, iteration: int, before: int, **kwargs) -> dict:
    stop = dict(type='StopValidationHook', iteration=iteration)
    with pytest.raises(Interruption):
        end_of(build(work_dir, hooks=(stop,), **kwargs))
    assert len(validations(work_dir)) == before
    return end_of(build(work_dir, resume=True, load_from=newest_checkpoint(work_dir), **kwargs))


@pytest.mark.parametrize(
    ('kwargs', 'iteration', 'before'),
    [(EPOCHS, EPOCH, 0), (EPOCHS, 2 * EPOCH, 1), (ITERATIONS, 4, 0), (ITERATIONS, 8, 1)],
)
def test_one_that_was_cut_off_is_made_up_for(kwargs, iteration, before, tmp_path):
    whole = end_of(build(tmp_path / 'whole', **kwargs))
    parts = stopped(tmp_path / 'parts', iteration, before, **kwargs)
    del whole['next draws'], parts['next draws']  # training does not go on after the last one
    assert_same(parts, whole)
    assert len(validations(tmp_path / 'whole')) == 2
    assert validations(tmp_path / 'parts') == validations(tmp_path / 'whole')
    names = [{path.name for path in (tmp_path / n).glob('*.pth')} for n in ('parts', 'whole')]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ('kwargs', 'iteration'), [(EPOCHS, EPOCH + 2), (ITERATIONS, 5), (ITERATIONS, 7)]
)
def test_one_that_ended_is_not_repeated(kwargs, iteration, tmp_path):
    with pytest.raises(Interruption):
        end_of(build(tmp_path, interrupt=iteration, **kwargs))
    for _ in range(2):  # the second goes on from the end
        end_of(build(tmp_path, resume=True, load_from=newest_checkpoint(tmp_path), **kwargs))
    assert len(validations(tmp_path)) == 2


def test_what_a_longer_run_has_validated_does_not_count(tmp_path):
    """Of another run in the same folder, or of what was trained beyond an older checkpoint."""
    end_of(build(tmp_path, checkpoint=dict(max_keep_ckpts=9), **ITERATIONS))
    older = str(tmp_path / 'iter_2.pth')
    for resumed in (dict(), dict(resume=True, load_from=older)):
        stop = dict(type='StopValidationHook', iteration=4)
        with pytest.raises(Interruption):
            end_of(build(tmp_path, hooks=(stop,), **resumed, **ITERATIONS))
        before = len([*logged(tmp_path)])
        again = build(tmp_path, resume=True, load_from=str(tmp_path / 'iter_4.pth'), **ITERATIONS)
        end_of(again)
        assert len([*logged(tmp_path)]) == before + 2


def test_a_start_from_weights_validates_nothing(tmp_path):
    end_of(build(tmp_path / 'first', **ITERATIONS))
    first = newest_checkpoint(tmp_path / 'first')
    with pytest.raises(Interruption):
        end_of(build(tmp_path / 'second', load_from=first, interrupt=2, **ITERATIONS))
    assert not validations(tmp_path / 'second')


def go_on_alone(rank: int, folder: Path) -> list:
    """Each process with a folder of its own, as on machines that share no disk."""
    own = folder / f'{rank}'
    kwargs = ITERATIONS | dict(launcher='pytorch', dataset=Numbers(16))
    stop = dict(type='StopValidationHook', iteration=4)
    with pytest.raises(Interruption):
        end_of(build(own, hooks=(stop,), **kwargs))
    end_of(build(own, resume=True, load_from=str(folder / '0/iter_4.pth'), **kwargs))
    return validations(own)


def test_two_machines(tmp_path):
    first, second = on_two_processes(go_on_alone, tmp_path)
    assert [step for step, _ in first] == [4, 8] and second == []


@METRICS.register_module()
class ScoresMetric(GamblingMetric):
    """Metrics that are known, by epoch."""

    def compute_metrics(self, results) -> dict:
        return dict(score=SCORES[MessageHub.get_current_instance().get_info('epoch')])


def test_the_best_is_remembered_at_the_next_interruption(tmp_path):
    kwargs = dict(EPOCHS, epochs=4, metric='ScoresMetric')
    whole = end_of(build(tmp_path / 'whole', **kwargs))
    parts, stop = tmp_path / 'parts', dict(type='StopValidationHook', iteration=2 * EPOCH)
    with pytest.raises(Interruption):
        end_of(build(parts, hooks=(stop,), **kwargs))
    for interrupt in (2 * EPOCH + 2, None):
        resumed = dict(resume=True, load_from=str(parts / 'epoch_2.pth'), interrupt=interrupt)
        with pytest.raises(Interruption) if interrupt else contextlib.nullcontext():
            end = end_of(build(parts, **resumed, **kwargs))
    assert_same(end, whole)
    names = [sorted(path.name for path in f.glob('*.pth')) for f in (parts, tmp_path / 'whole')]
    assert names[0] == names[1] and 'best_score_epoch_2.pth' in names[0]
    assert validations(parts) == validations(tmp_path / 'whole')
