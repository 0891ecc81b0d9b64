"""The benchmark's methods as the tests build them, and samples for them."""

from pathlib import Path

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config

from turbotrain.datasets import V2XPnPDataset

CONFIGS = sorted(Path(__file__).parents[2].glob('configs/benchmark/mini/*_mini_v2xpnp.py'))


def open_split(cfg: Config, infos: Path, root: Path, split: str) -> V2XPnPDataset:
    settings = dict(cfg[f'{split}_dataloader'].dataset)
    settings.update(ann_file=str(infos), data_root=str(root))
    settings.pop('type')
    return V2XPnPDataset(**settings)


def build(cfg: Config) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def save_teacher(cfg: Config, folder: Path) -> None:
    """Put an untrained teacher where the config's own would be."""
    torch.manual_seed(1)
    teacher = MODELS.build(Config.fromfile(cfg.model.teacher.config).model)
    cfg.model.teacher.checkpoint = str(folder / 'teacher.pth')
    torch.save(dict(state_dict=teacher.state_dict()), cfg.model.teacher.checkpoint)
