"""A run writes and removes nothing outside of its own folder, whatever a file names."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from tests.engine.small_runs import build, end_of
from turbotrain.engine import newest_checkpoint


@HOOKS.register_module()
class SecondScoreHook(Hook):
    """Another name for the validation's score."""

    priority = 'VERY_HIGH'

    def after_val_epoch(self, runner, metrics=None) -> None:
        metrics['other'] = metrics['score']


BEST = dict(by_epoch=True, interval=1, save_best='score', rule='greater', max_keep_ckpts=2)
RUN = dict(validate=True, checkpoint=BEST)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in folder.glob('*.pth')}


@pytest.fixture(scope='module')
def first(tmp_path_factory) -> Path:
    """A run of two epochs, each better than the one before."""
    work_dir = tmp_path_factory.mktemp('first')
    runner = build(work_dir, **RUN)
    runner.cfg.work_dir, runner.cfg.load_from = str(work_dir), f'{work_dir}/stage_1.pth'
    end_of(runner)
    return work_dir


@pytest.fixture
def content(first) -> dict:
    return torch.load(first / 'epoch_2.pth', weights_only=True)


def go_on(folder: Path, start: str | None, epochs: int = 3, **changes) -> None:
    end_of(build(folder, epochs=epochs, resume=True, load_from=start, **RUN | changes))


def test_another_runs_checkpoint_leaves_that_run_alone(first, tmp_path):
    before = files(first)
    assert {'best_score_epoch_2.pth', 'epoch_1.pth', 'epoch_2.pth'} <= before.keys()
    go_on(tmp_path / 'second', str(first / 'epoch_2.pth'), epochs=4)
    assert files(first) == before
    assert checkpoints(tmp_path / 'second') == {
        'best_score_epoch_4.pth', 'epoch_3.pth', 'epoch_4.pth',
    }  # fmt: skip


def test_with_several_best_ones(tmp_path):
    several = BEST | dict(save_best=['score', 'other'], rule='greater')
    one = dict(checkpoint=several, hooks=(dict(type='SecondScoreHook'),))
    end_of(build(tmp_path / 'a', **RUN | one))
    before = files(tmp_path / 'a')
    assert {'best_score_epoch_2.pth', 'best_other_epoch_2.pth'} <= before.keys()
    go_on(tmp_path / 'b', str(tmp_path / 'a/epoch_2.pth'), **one)
    assert files(tmp_path / 'a') == before
    assert {'best_score_epoch_3.pth', 'best_other_epoch_3.pth'} <= files(tmp_path / 'b').keys()


@pytest.mark.parametrize('name', ['{victim}', '../victim.pth', 'notes.pth'])
def test_a_checkpoint_names_no_file_to_remove(name, content, tmp_path):
    run = tmp_path / 'run'
    run.mkdir()
    victims = [tmp_path / 'victim.pth', run / 'notes.pth']
    for victim in victims:
        victim.write_text('precious')
    info = content['message_hub']['runtime_info']
    info |= dict(
        best_ckpt=name.format(victim=victims[0]), best_score=-1, last_ckpt=str(victims[0]),
        keep_ckpt_ids=[f'/../../../{victims[0]}', 1, 2],
    )  # fmt: skip
    torch.save(content, tmp_path / 'given.pth')
    go_on(run, str(tmp_path / 'given.pth'))
    assert [victim.read_text() for victim in victims] == ['precious'] * 2
    assert (run / 'best_score_epoch_3.pth').exists()


def strings(value) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in strings(item)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_checkpoints_hold_no_path_of_the_run(first):
    for path in [*first.glob('*.pth'), first / 'last_checkpoint']:
        named = path.suffix == '.pth'
        content = torch.load(path, weights_only=True) if named else path.read_text()
        assert not [text for text in strings(content) if str(first.parent) in text]
    config = torch.load(first / 'epoch_2.pth', weights_only=True)['meta']['cfg']
    assert f"work_dir = '{first.name}'" in config and "load_from = 'stage_1.pth'" in config


@pytest.mark.parametrize('named', [True, False], ids=['as --resume', "as mmengine's resume=True"])
def test_a_copied_folder_goes_on_by_itself(named, first, tmp_path):
    shutil.copytree(first, tmp_path / 'copy')
    before = files(first)
    go_on(tmp_path / 'copy', newest_checkpoint(tmp_path / 'copy') if named else None)
    assert files(first) == before
    assert checkpoints(tmp_path / 'copy') == {
        'best_score_epoch_3.pth', 'epoch_2.pth', 'epoch_3.pth',
    }  # fmt: skip


def test_last_checkpoint_leads_nowhere_else(first, tmp_path):
    shutil.copytree(first, tmp_path / 'copy')
    for stray in (tmp_path / 'epoch_2.pth', tmp_path / 'elsewhere.pth'):
        stray.write_bytes(b'not to be read')
        (tmp_path / 'copy/last_checkpoint').write_text(str(stray))
        assert newest_checkpoint(tmp_path / 'copy') == str(tmp_path / 'copy/epoch_2.pth')


def resumable(folder: Path, names: list[str]) -> None:
    for name in names:
        torch.save(dict(meta={}, state_dict={}, optimizer={}, message_hub={}), folder / name)


@pytest.mark.parametrize(
    ('last', 'expected'),
    [
        (None, 'epoch_10.pth'),  # not 9, as letters go
        ('epoch_9.pth', 'epoch_9.pth'),  # 10 is an earlier run's
        ('epoch_3.pth', 'epoch_2.pth'),  # the one before a file that is gone
        ('\0/' * 999, 'epoch_10.pth'),
    ],
)
def test_a_copys_times_do_not_matter(last, expected, tmp_path):
    resumable(tmp_path, ['epoch_2.pth', 'epoch_9.pth', 'epoch_10.pth'])
    os.utime(tmp_path / 'epoch_10.pth', (1, 1))
    if last:
        (tmp_path / 'last_checkpoint').write_text(last)
    assert newest_checkpoint(tmp_path) == str(tmp_path / expected)


def test_names_that_disagree_are_told(tmp_path):
    resumable(tmp_path, ['epoch_2.pth'])
    (tmp_path / 'last_checkpoint').write_text('epoch_3.pth')
    with pytest.warns(UserWarning, match='names epoch_3.pth; resuming from .*epoch_2.pth instead'):
        newest_checkpoint(tmp_path)
    (tmp_path / 'last_checkpoint').write_text('epoch_2.pth')
    torch.save(
        dict(meta=dict(epoch=7), state_dict={}, optimizer={}, message_hub={}),
        tmp_path / 'epoch_2.pth',
    )
    with pytest.warns(UserWarning, match='epoch_2.pth: holds epoch 7, another than its name says'):
        assert newest_checkpoint(tmp_path) == str(tmp_path / 'epoch_2.pth')
