"""mmdet3d's own detectors go from pretraining to fine-tuning, on files in their true formats."""

import argparse
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict

from tests.engine.stock_configs import DETECTORS, MIXED
from tests.stock_data import write_kitti, write_nuscenes
from turbotrain.commands import launch, load_config


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('stock') / 'data'
    write_kitti(root / 'kitti')
    write_nuscenes(root / 'nuscenes')
    return root


def moved(value, root: Path):
    """A config's values with the data elsewhere."""
    if isinstance(value, dict):
        return {key: moved(item, root) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(moved(item, root) for item in value)
    if isinstance(value, str) and value.startswith('data/'):
        return f'{root}/{value.removeprefix("data/")}'
    return value


def open_config(name: str, shrink, data: Path, work_dir: Path) -> Config:
    """A config of ours as the commands read it, at a size for a CPU, two iterations long."""
    cfg = Config.fromfile(MIXED / f'{name}.py')
    shrink(cfg.model.get('detector') or cfg.model)
    loader = ConfigDict(moved(cfg.train_dataloader.to_dict(), data))
    loader.update(batch_size=2, num_workers=0)
    if loader.dataset.type == 'RepeatDataset':
        loader.dataset.times = 1
    cfg.train_dataloader = loader
    cfg.train_cfg.max_epochs = 1
    # The data sets' own metrics need a GPU, or all of nuScenes.
    for split in ('val', 'test'):
        cfg.update({f'{split}_{part}': None for part in ('cfg', 'dataloader', 'evaluator')})
    work_dir.mkdir(parents=True)
    path = work_dir / f'{name}.py'
    cfg.dump(path)
    words = dict(mode=None, work_dir=str(work_dir), cfg_options=None, launcher='none', local_rank=0)
    return load_config(argparse.Namespace(config=str(path), **words))


@pytest.mark.parametrize('name', DETECTORS)
def test_from_pretraining_to_fine_tuning(name, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # commands leave for the project's root; pytest goes back
    shrink, trunk = DETECTORS[name]
    cfg = open_config(f'{name}_pretrain', shrink, data, tmp_path / 'pretrain')
    used = str(cfg.train_dataloader)
    assert 'ObjectSample' not in used and 'LoadAnnotations3D' not in used
    launch(cfg, 'train')
    weights = torch.load(tmp_path / 'pretrain/epoch_1.pth', weights_only=True)['state_dict']
    assert trunk | {'reconstruction_head'} >= {key.split('.')[0] for key in weights}
    assert 'merged.loss_chamfer' in next((tmp_path / 'pretrain').glob('*/*.log')).read_text()

    cfg = open_config(f'{name}_finetune', shrink, data, tmp_path / 'finetune')
    assert 'ObjectSample' in str(cfg.train_dataloader)
    assert cfg.load_from.split('/')[1] == f'{name}_pretrain'
    epochs = Config.fromfile(MIXED / f'{name}_pretrain.py').train_cfg.max_epochs
    assert cfg.load_from.endswith(f'epoch_{epochs}.pth')
    cfg.load_from = str(tmp_path / 'pretrain/epoch_1.pth')
    launch(cfg, 'train')
    report = next((tmp_path / 'finetune').glob('*/*.log')).read_text()
    line = next(line for line in report.splitlines() if 'weights trained' in line)
    trained, carried, fresh, dropped = line.split('weights trained: ')[1].split('; ')
    assert {word.split()[0] for word in trained.split('), ')} == trunk
    assert carried == 'carried along untrained: none'
    assert fresh in ('fresh: bbox_head', 'fresh: pts_bbox_head')
    assert dropped == 'dropped: reconstruction_head'


def test_every_config_leaves_its_parents_detector_as_it_is():
    for name in DETECTORS:
        pretrain, finetune = (
            Config.fromfile(MIXED / f'{name}_{stage}.py') for stage in ('pretrain', 'finetune')
        )
        assert pretrain.model.detector.to_dict() == finetune.model.to_dict()
        lines = (MIXED / f'{name}_finetune.py').read_text().splitlines()
        assert len(lines) < 8
