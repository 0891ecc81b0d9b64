"""A run says, before it begins, where samples would be augmented alike in every epoch."""

import pytest
from mmdet3d.registry import DATASETS
from torch.utils.data import BatchSampler, ConcatDataset, Subset

from tests.datasets.samples import Follower
from tests.engine.small_runs import build, end_of
from turbotrain.datasets import EpochIndexDataset

SAMPLES = 8


def repeat(dataset, times: int = 2):
    return DATASETS.build(dict(type='RepeatDataset', dataset=dataset, times=times))


@pytest.fixture
def warned(make_dataset, tmp_path):
    def warned(wrap=lambda one: one, test_mode: bool = False, **kwargs) -> list[str]:
        """The warnings of a run on a set of ``SAMPLES`` samples."""
        pipeline = [dict(type='LoadCooperativePoints'), dict(type='PackCooperativeInputs')]
        dataset = make_dataset(
            num_history=0, indices=SAMPLES, test_mode=test_mode, pipeline=pipeline
        )
        end_of(build(
            tmp_path, dataset=wrap(dataset), model=dict(type=Follower),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
            collate=dict(type='pseudo_collate'), **kwargs,
        ))  # fmt: skip
        lines = next(tmp_path.glob('*/*.log')).read_text().splitlines()
        return [line for line in lines if 'random draws repeat' in line]

    return warned


REPEATING = dict(
    plain={}, iterations=dict(iterations=SAMPLES),
    infinite=dict(iterations=SAMPLES, sampler='InfiniteSampler'),
    workers=dict(num_workers=1, persistent_workers=False),
    copies=dict(wrap=repeat, epochs=1), part=dict(num_batch_per_epoch=2),
    deep=dict(wrap=lambda one: ConcatDataset([Subset(ConcatDataset([one]), [0, 1, 2])])),
    batches=dict(batch_sampler=dict(type=BatchSampler, drop_last=False)),
)  # fmt: skip


@pytest.mark.parametrize('name', REPEATING)
def test_draws_that_repeat_are_told_once(name, warned):
    (line,) = warned(**REPEATING[name])
    sampler = REPEATING[name].get('sampler', 'DefaultSampler')
    assert f'and {sampler} does not tell the epoch' in line
    assert "type='EpochIndexSampler'" in line and "type='EpochIndexDataset'" in line


ANEW = dict(
    plain=dict(sampler='EpochIndexSampler'), once=dict(epochs=1, batch_size=3),
    copies=dict(wrap=lambda one: EpochIndexDataset(repeat(one)), sampler='EpochIndexSampler'),
    iterations=dict(iterations=4), testing=dict(test_mode=True),
    batches=dict(
        sampler='EpochIndexSampler', batch_sampler=dict(type=BatchSampler, drop_last=False)
    ),
)  # fmt: skip


@pytest.mark.parametrize('name', ANEW)
def test_nothing_is_said_where_they_do_not(name, warned):
    assert warned(**ANEW[name]) == []
