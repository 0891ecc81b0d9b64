"""An epoch that goes on has the samples that remain: none twice, none left out, or no epoch."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.dataset.utils import default_collate
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, DataLoader

from tests.engine.small_runs import (
    BATCH,
    BY_EPOCH,
    EPOCH,
    SAMPLES,
    Interruption,
    Numbers,
    assert_same,
    build,
    end_of,
)
from turbotrain.engine import UserError, newest_checkpoint


@DATA_SAMPLERS.register_module()
class EvenAndOdd(BatchSampler):
    """Even samples together and odd ones, as mmdet's puts together pictures of one shape."""

    def __iter__(self):
        kinds = {0: [], 1: []}
        for index in self.sampler:
            own = kinds[index % 2]
            own.append(index)
            if len(own) == self.batch_size:
                yield own.copy()
                own.clear()
        yield from filter(None, kinds.values())


def built(work_dir: Path, sampler: str | None = None, **kwargs):
    """A runner; with a sampler's name its loader is torch's own."""
    runner = build(work_dir, **kwargs)
    if sampler is not None:
        order = dict(
            random=dict(shuffle=True), sequence={},
            distributed=dict(sampler=torch.utils.data.DistributedSampler(Numbers(), 1, 0)),
        )[sampler]  # fmt: skip
        runner._train_dataloader = DataLoader(
            kwargs.get('dataset') or Numbers(), BATCH, collate_fn=default_collate, **order
        )
    return runner


def resumed(work_dir: Path, iteration: int, **kwargs):
    """A runner that goes on from an interrupted run's last checkpoint."""
    with pytest.raises(Interruption):
        end_of(built(work_dir, interrupt=iteration, **kwargs))
    return built(work_dir, resume=True, load_from=newest_checkpoint(work_dir), **kwargs)


OTHERS = {
    'RandomSampler': dict(sampler='random'),
    'EvenAndOdd with DefaultSampler': dict(batch_sampler=dict(type='EvenAndOdd', drop_last=False)),
}


@pytest.mark.parametrize('words', OTHERS)
def test_what_may_give_another_order_goes_on_at_the_end_of_an_epoch_alone(words, tmp_path):
    kwargs = dict(dataset=Numbers(16)) | OTHERS[words]
    with pytest.raises(UserError, match=f'{words} may give another order.*the end of an epoch'):
        end_of(resumed(tmp_path / 'middle', EPOCH + 4, **kwargs))
    kwargs = kwargs | dict(checkpoint=BY_EPOCH)
    whole = end_of(built(tmp_path / 'whole', **kwargs))
    assert_same(end_of(resumed(tmp_path / 'parts', EPOCH + 4, **kwargs)), whole)


@pytest.mark.parametrize('sampler', ['sequence', 'distributed'])
def test_torchs_own_loaders_that_repeat_their_order(sampler, tmp_path):
    whole = end_of(built(tmp_path / 'whole', sampler))
    assert_same(end_of(resumed(tmp_path / 'parts', EPOCH + 4, sampler=sampler)), whole)


def asked(runner, interrupted: bool = False) -> list[int]:
    """The samples that a run loads; mmengine copies the data set that it is given."""
    with pytest.raises(Interruption) if interrupted else nullcontext():
        end_of(runner)
    return runner.train_dataloader.dataset.asked


def test_no_sample_is_repeated_and_none_is_loaded_in_vain(tmp_path):
    uninterrupted = asked(build(tmp_path / 'whole'))
    first = asked(build(tmp_path / 'parts', interrupt=EPOCH + 4), interrupted=True)
    newest = newest_checkpoint(tmp_path / 'parts')
    runner = build(tmp_path / 'parts', resume=True, load_from=newest)
    second = asked(runner)
    # Iterations up to EPOCH + 3 were saved; the one after was loaded and never trained on.
    assert first == uninterrupted[: (EPOCH + 5) * BATCH]
    assert second == uninterrupted[(EPOCH + 3) * BATCH :]
    assert len(runner.train_dataloader) == EPOCH
    assert len(set(second)) == len(second) == (EPOCH - 3) * BATCH


def test_a_run_whose_seed_was_drawn(tmp_path):
    first = asked(build(tmp_path, seed=None, interrupt=3), interrupted=True)
    newest = newest_checkpoint(tmp_path)
    second = asked(build(tmp_path, epochs=1, seed=None, resume=True, load_from=newest))
    assert sorted(first[: 2 * BATCH] + second) == list(range(SAMPLES))


def test_another_seed_is_refused_in_the_middle_of_an_epoch_only(tmp_path):
    with pytest.raises(Interruption):
        end_of(build(tmp_path, interrupt=5))
    with pytest.raises(UserError, match='DefaultSampler drew with seed 0; it has 5 now'):
        end_of(build(tmp_path, seed=5, resume=True, load_from=newest_checkpoint(tmp_path)))
