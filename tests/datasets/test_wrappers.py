"""Several data sets at once, or one repeated: each copy draws anew in each epoch, and the same."""

import argparse
import warnings
from pathlib import Path

import pytest
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import ConcatDataset, DataLoader, Subset

from tests.datasets.samples import Follower
from tests.engine.small_runs import Interruption, assert_same, build, end_of
from tests.scenes import write_scenario
from turbotrain.commands import load_config, only_dataset
from turbotrain.datasets import (
    EpochIndexDataset,
    EpochIndexSampler,
    V2XPnPDataset,
    build_infos,
    save_infos,
)
from turbotrain.engine import UserError, newest_checkpoint
from turbotrain.errors import SettingError

FRAMES = 3


@pytest.fixture(scope='module')
def one(tmp_path_factory):
    """Configs of two sets, 'a' and 'b', of three samples each."""
    root = tmp_path_factory.mktemp('sets')
    for seed, name in enumerate('ab'):
        frames = range(0, 5 * FRAMES, 5)
        write_scenario(root / name, name=name, agents=(1, 2), frames=frames, objects=3, seed=seed)
        save_infos(str(root / name / 'infos.npz'), build_infos(str(root / name), 'train'))

    def config(name: str, **changes) -> dict:
        pipeline = [
            dict(type='LoadCooperativePoints'),
            dict(type='CooperativeGlobalAugmentation'),
            dict(type='PackCooperativeInputs'),
        ]
        return dict(
            type='V2XPnPDataset', ann_file='infos.npz', data_root=str(root / name),
            num_history=0, pipeline=pipeline, serialize_data=False,  # which takes a second
        ) | changes  # fmt: skip

    return config


def built(config: dict) -> V2XPnPDataset:
    return DATASETS.build(config)


def concat(*datasets: dict) -> dict:
    return dict(type='ConcatDataset', datasets=list(datasets))


def repeat(dataset: dict, times: int = 2) -> dict:
    return dict(type='RepeatDataset', dataset=dataset, times=times)


# Name -> what makes it, and which sets it takes samples of.
WRAPPED = dict(
    concat=(lambda one: concat(one('a'), one('b')), 'aaabbb'),
    repeat=(lambda one: repeat(one('a')), 'aaaaaa'),
    # Every class is in every sample: each is there sqrt(4) times.
    balanced=(
        lambda one: dict(type='ClassBalancedDataset', dataset=one('a'), oversample_thr=4.0),
        'aaaaaa',
    ),
    nested=(lambda one: repeat(concat(repeat(one('a')), one('b', indices=[0, 2]))), 'aaaaaabb' * 2),
    subset=(lambda one: Subset(built(one('a')), [2, 2, 0]), 'aaa'),
    torch=(lambda one: ConcatDataset([Subset(built(one('b')), [1]), built(one('a'))]), 'aaab'),
    alone=(lambda one: one('b'), 'bbb'),
)


def points_of(samples: list[dict]) -> list[bytes]:
    return [sample['inputs']['points'].numpy().tobytes() for sample in samples]


def sampler_of(dataset: EpochIndexDataset, epoch: int) -> EpochIndexSampler:
    sampler = EpochIndexSampler(dataset, shuffle=True, seed=3)
    sampler.set_epoch(epoch)
    return sampler


def epoch_samples(dataset: EpochIndexDataset, epoch: int) -> list[dict]:
    return [dataset[i] for i in sampler_of(dataset, epoch)]


@pytest.mark.parametrize('name', WRAPPED)
def test_every_copy_draws_anew_in_every_epoch(name, one):
    make, expected = WRAPPED[name]
    dataset = EpochIndexDataset(make(one))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        epochs = [epoch_samples(dataset, number) for number in (0, 1)]
    for samples in epochs:
        assert sorted(s['data_samples'].scenario for s in samples) == sorted(expected)
    drawn = points_of(epochs[0]) + points_of(epochs[1])
    assert len(set(drawn)) == len(drawn) == 2 * len(dataset)
    assert points_of(epoch_samples(EpochIndexDataset(make(one)), 1)) == points_of(epochs[1])


@pytest.mark.parametrize('name', ['nested', 'torch'])
def test_workers_and_processes_change_nothing(name, one, monkeypatch):
    dataset = EpochIndexDataset(WRAPPED[name][0](one))
    indices = list(sampler_of(dataset, 2))
    expected = dict(zip(indices, points_of([dataset[i] for i in indices]), strict=True))
    loader = DataLoader(
        dataset, 2, sampler=sampler_of(dataset, 2), num_workers=2, collate_fn=points_of
    )
    assert sum(loader, []) == [*expected.values()]
    shares = []
    for rank in range(2):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        shares.append(list(sampler_of(dataset, 2)))
    assert set(shares[0] + shares[1]) == set(indices)
    assert points_of([dataset[i] for i in shares[1]]) == [expected[i] for i in shares[1]]


def test_it_draws_as_a_data_set_alone_and_leaves_it_as_it_was(one):
    alone, inside = built(one('a', test_mode=True)), built(one('a', test_mode=True))
    dataset = EpochIndexDataset(inside)
    wrapped = EpochIndexDataset(dataset)  # as browse_dataset.py does with any
    indices = [0, 4, 3 * FRAMES + 1, -1]
    expected = points_of([alone[i] for i in indices])
    for found in (dataset, wrapped):
        assert points_of([found[i] for i in indices]) == expected
    assert points_of([inside[4]]) == expected[1:2]
    assert len(list(dataset)) == len(dataset) == FRAMES
    inside.pipeline.transforms.insert(0, lambda results: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dataset[5]
    assert inside.place is None


def test_the_seed_of_each_data_set_counts(one):
    same = EpochIndexDataset(concat(one('a', seed=0), one('b', seed=0)))
    other = EpochIndexDataset(concat(one('a', seed=0), one('b', seed=1)))
    equal = [a == b for a, b in zip(points_of(same), points_of(other), strict=True)]
    assert equal == [True] * FRAMES + [False] * FRAMES


def test_an_interrupted_run_ends_as_a_whole_one(one, tmp_path):
    """In the middle of an epoch."""
    dataset = EpochIndexDataset(concat(repeat(one('a')), one('b')))

    def run(name: str, **kwargs) -> dict:
        return end_of(build(
            tmp_path / name, dataset=dataset, model=dict(type=Follower),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
            collate=dict(type='pseudo_collate'), sampler='EpochIndexSampler', **kwargs,
        ))  # fmt: skip

    whole = run('whole')
    with pytest.raises(Interruption):
        run('parts', interrupt=7)
    assert_same(run('parts', resume=True, load_from=newest_checkpoint(tmp_path / 'parts')), whole)


def test_labels_for_balancing_are_those_of_the_sample(make_dataset):
    dataset = make_dataset(ego='random', comm_range=15.0, serialize_data=False)
    balanced = DATASETS.build(
        dict(type='ClassBalancedDataset', dataset=dataset, oversample_thr=0.5)
    )
    for i in (0, len(dataset) // 2, len(dataset) - 1):
        epochs = [dataset.get_data_info(e * len(dataset) + i) for e in range(8)]
        expected = {label for info in epochs for label in info['gt_labels_3d'].tolist()}
        assert dataset.get_cat_ids(i) == sorted(expected)
    assert len(balanced) >= len(dataset)


def test_different_classes_are_refused_by_name(one):
    two = one('a', class_map='vehicle1'), one('b')
    said = (
        r"a/infos.npz has classes \('vehicle',\) and .*b/infos.npz has classes \('vehicle', 'pede"
    )
    for wrapper in (concat(*two), ConcatDataset([built(own) for own in two])):
        with pytest.raises(ValueError, match=said):
            EpochIndexDataset(wrapper)


def test_messages_lead_to_what_works(one):
    dataset = DATASETS.build(repeat(one('a')))
    with pytest.raises(
        ValueError, match=r"dict\(type='EpochIndexDataset', dataset=dict\(type='Rep"
    ):
        EpochIndexSampler(dataset)
    assert len(list(EpochIndexSampler(EpochIndexDataset(dataset)))) == 2 * FRAMES
    with pytest.raises(ValueError, match='Subset holds a list'):
        EpochIndexDataset(Subset([1, 2], [0]))
    loader = dict(
        dataset=one('a'), batch_size=1, num_batch_per_epoch=2,
        sampler=dict(type='EpochIndexSampler', shuffle=True),
    )  # fmt: skip
    with pytest.raises(SettingError, match='num_batch_per_epoch.*V2XPnPDataset indices=2'):
        Runner.build_dataloader(loader)
    del loader['num_batch_per_epoch']
    loader['dataset'] = one('a', indices=2)
    assert len(Runner.build_dataloader(loader)) == 2


def load(tmp_path: Path, monkeypatch, dataset: dict) -> Config:
    """A config as the commands read it."""
    monkeypatch.chdir(tmp_path)
    loader = dict(dataset=dataset, sampler=dict(type='EpochIndexSampler', shuffle=True))
    Config(dict(train_dataloader=loader, randomness=dict(seed=5))).dump('config.py')
    given = dict(config='config.py', mode=None, work_dir=None, cfg_options=None, launcher='none')
    return load_config(argparse.Namespace(**given, local_rank=0))


def test_commands_hand_on_the_seed_and_the_epoch(one, tmp_path, monkeypatch):
    plain = load(tmp_path, monkeypatch, one('a'))
    assert plain.train_dataloader.dataset.type == 'V2XPnPDataset'
    assert only_dataset(plain.train_dataloader).seed == 5
    cfg = load(tmp_path, monkeypatch, concat(repeat(one('a')), one('b', seed=1)))
    assert cfg.train_dataloader.dataset.type == 'EpochIndexDataset'
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    inner = dataset.dataset.datasets
    assert (inner[0].dataset.seed, inner[1].seed) == (5, 1)
    with pytest.raises(UserError, match=r"config has \['.*/a/infos.npz', '.*/b/infos.npz'\]"):
        only_dataset(cfg.train_dataloader)
    with pytest.raises(UserError, match='a/infos.npz has classes'):
        load(tmp_path, monkeypatch, concat(one('a', class_map='vehicle1'), one('b')))
    again = load(tmp_path, monkeypatch, cfg.train_dataloader.dataset.to_dict())
    assert again.train_dataloader.dataset.dataset.type == 'ConcatDataset'
