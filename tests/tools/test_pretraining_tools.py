"""The tools that measure pretraining do what they say they measure."""

import json
import runpy
from argparse import Namespace
from pathlib import Path

import pytest
from mmdet3d.registry import DATASETS
from mmengine.config import Config

from projects.TurboTrain.turbotrain.datasets import build_infos, save_infos

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


def test_shares_of_the_labels_are_nested_seeded_and_of_whole_moments(efficiency, data_root):
    args = Namespace(data_root=data_root, samples=None, split='test')
    settings = efficiency['open_config']('finetune', 0, 1, args).train_dataloader.dataset
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


def test_a_run_anneals_to_its_end(efficiency, data_root):
    args = Namespace(data_root=data_root, samples=3, split='val')
    cfg = efficiency['open_config']('finetune', 7, 200, args)
    assert cfg.train_cfg.max_iters == 200 and cfg.randomness.seed == 7
    assert [s['T_max'] for s in cfg.param_scheduler if s.type == 'CosineAnnealingLR'] == [200]
    assert cfg.train_dataloader.dataset.indices == cfg.test_dataloader.dataset.indices == 3
    assert cfg.test_dataloader.dataset.ann_file == 'v2xpnp_infos_val.npz'
    assert cfg.val_dataloader is None


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


def test_runs_of_other_settings_are_not_mixed(efficiency, tmp_path):
    args = dict(work_dir=tmp_path, iters=1, pretrain_iters=1, samples=None, split='test')
    args |= dict(cfg_options=dict(a=0.2))
    efficiency['check_settings'](Namespace(**args))
    efficiency['check_settings'](Namespace(**args))
    with pytest.raises(SystemExit, match='take another'):
        efficiency['check_settings'](Namespace(**args | dict(iters=2)))
    assert json.loads((tmp_path / 'settings.json').read_text())['iters'] == 1


def test_both_ways_ask_for_the_same_and_differ_in_what_is_encoded(cost, data_root):
    cfg = Config.fromfile(ROOT / 'configs/turbotrain/mini/pretrain_mini_v2xpnp.py')
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
