"""The tools that measure pretraining do what they say they measure."""

import runpy
from argparse import Namespace
from pathlib import Path

import pytest
from mmdet3d.registry import DATASETS
from mmengine.config import Config

from projects.TurboTrain.turbotrain.datasets import build_infos, save_infos
from tools.benchmark.recipes import Settings, recipe_paths, stages_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def data_root(tiny_set, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('tiny')
    (root / 'train').symlink_to(tiny_set / 'train')
    save_infos(str(root / 'v2xpnp_infos_train.npz'), build_infos(str(root), 'train'))
    return root


@pytest.fixture(scope='module')
def efficiency() -> dict:
    return runpy.run_path(str(ROOT / 'tools/benchmark/label_efficiency.py'))


@pytest.fixture(scope='module')
def cost() -> dict:
    return runpy.run_path(str(ROOT / 'tools/benchmark/pretraining.py'))


def fine_tuning(data_root: Path, seed: int = 0) -> Config:
    settings = Settings(Path('unused'), data_root=data_root)
    return list(stages_of(recipe_paths()['turbotrain'], seed, settings))[-1].config


def test_shares_of_the_labels_are_nested_seeded_and_of_whole_moments(efficiency, data_root):
    settings = fine_tuning(data_root).train_dataloader.dataset
    dataset = DATASETS.build({**settings, 'pipeline': []})
    moments = [
        (info['scenario'], info['frame'])
        for info in map(dataset.get_data_info, range(len(dataset)))
    ]
    assert len(set(moments)) < len(moments)  # several egos
    subsets = {p: set(efficiency['labelled'](dataset, p, 0)) for p in (10, 25, 50, 100)}
    assert subsets[10] < subsets[25] < subsets[50] < subsets[100] == set(range(len(dataset)))
    for percent, own in subsets.items():
        labelled = {moments[i] for i in own}
        assert own == {i for i, moment in enumerate(moments) if moment in labelled}
        assert abs(len(labelled) / len(set(moments)) - percent / 100) <= 0.5 / len(set(moments))
    assert subsets[25] == set(efficiency['labelled'](dataset, 25, 0))
    assert subsets[25] != set(efficiency['labelled'](dataset, 25, 1))


def test_arms_differ_in_their_start_alone(efficiency, data_root):
    given = fine_tuning(data_root)
    arms = {arm: fine_tuning(data_root) for arm in efficiency['ARMS']}
    for arm, cfg in arms.items():
        efficiency['finetune'](arm, 25, 0, {'model.trajectory_head.loss_weight': 3}, 'x', cfg)
        assert cfg.to_dict() == given.to_dict()  # another stage is left alone
        options = {'model.trajectory_head.loss_weight': 3}
        efficiency['finetune'](arm, 25, 0, options, 'finetuning', cfg)
        assert cfg.model.trajectory_head.loss_weight == 3
    scratch, pretrained = arms['scratch'], arms['pretrained']
    assert pretrained.load_from == given.load_from and scratch.load_from is None
    kept = pretrained.train_dataloader.dataset.indices
    assert 0 < len(kept) < len(DATASETS.build({**given.train_dataloader.dataset, 'pipeline': []}))
    scratch.load_from, scratch.custom_hooks = pretrained.load_from, pretrained.custom_hooks
    assert scratch.to_dict() == pretrained.to_dict()


def test_the_curve_shows_means_and_spreads(efficiency, tmp_path):
    found = {
        (arm, percent, metric): [percent / 10 + add, percent / 10 + add + 2]
        for arm, add in (('scratch', 0), ('pretrained', 4))
        for percent in (25, 100)
        for metric in efficiency['METRICS']
    }
    table = efficiency['summarise'](found)
    assert table['EPA']['pretrained']['25'] == dict(mean=7.5, std=1.41, values=[6.5, 8.5])
    efficiency['draw'](table, tmp_path / 'a.png')
    assert (tmp_path / 'a.png').read_bytes()[:4] == b'\x89PNG'


def test_both_ways_ask_for_the_same_and_differ_in_what_is_encoded(cost, data_root):
    path = ROOT / 'configs/turbotrain/mini/pretrain_mini_v2xpnp.py'
    cfg = cost['pretraining_config'](path)
    args = Namespace(data_root=data_root, seed=0)
    batch = cost['open_batches'](args, cfg)[0]
    ways = [cost['Way'](cfg.model, visible, 0) for visible in (True, False)]
    seen, losses = [], []
    for way in ways:
        way.model.detector.encoder.register_forward_pre_hook(
            lambda module, args: seen.append(sum(len(cloud) for cloud in args[0]))
        )
        head = way.model.reconstruction_head['merged']
        head.register_forward_pre_hook(lambda module, args: losses.append(args[0].shape))
        assert way.step(batch, seed=1) > 0 and way.chamfer(batch, seed=1) > 0
    assert 0.2 < seen[0] / seen[1] < 0.4
    assert seen[1] == sum(batch['data_samples'][0].num_points)
    for one, other in zip(*(way.model.parameters() for way in ways), strict=True):
        assert one.shape == other.shape


def test_memory_at_full_size_is_bounded(cost):
    """All of masking and the head takes less than one array of the differences of all pairs."""
    memory = cost['full_size_memory'](0)
    assert memory['cells'] > 10_000
    assert memory['megabytes'] < 0.75 * memory['all_pairs']
