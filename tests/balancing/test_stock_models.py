"""Unchanged models of mmdet3d and mmdet take balanced steps, at a reduced size, on a CPU."""

from pathlib import Path

import mmdet
import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmdet.structures import DetDataSample
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPERS, DefaultScope
from mmengine.structures import InstanceData

from tests.stock_models import shrink_centerpoint, shrink_pointpillars

RETINANET = '_base_/models/retinanet_r50_fpn.py'
MIXED = Path(__file__).resolve().parents[2] / 'configs/mixed'


def lidar_batch(box_dim: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.zeros(4, box_dim)
    boxes[:, 0] = torch.tensor([6.0, 10.0, 14.0, 18.0])
    boxes[:, 2] = -1.5
    boxes[:, 3:6] = torch.tensor([3.9, 1.6, 1.6])
    samples = []
    for _ in range(2):
        sample = Det3DDataSample()
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=box_dim),
            labels_3d=torch.tensor([0, 1, 2, 0]),
        )
        samples.append(sample)
    points = torch.rand(2, 400, 5 if box_dim == 9 else 4, generator=generator)
    points[..., :3] = points[..., :3] * torch.tensor([24.0, 24.0, 3.0]) - torch.tensor([0, 12, 3.0])
    return dict(inputs=dict(points=list(points)), data_samples=samples)


def build(name: str, shrink) -> tuple[torch.nn.Module, dict]:
    cfg = Config.fromfile(MIXED / name)
    shrink(cfg.model)
    return MODELS.build(cfg.model).train(), cfg.optim_wrapper


def step(model: torch.nn.Module, settings: dict, data: dict, **changes) -> tuple:
    settings = {**settings, **changes}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    optim_wrapper = OPTIM_WRAPPERS.build({**settings, 'optimizer': optimizer})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    log = model.train_step(data, optim_wrapper)
    assert log['loss'].isfinite()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    return optim_wrapper, moved


ALWAYS = dict(type='PeriodicSchedule', free=0)


@pytest.mark.parametrize('level', [None, dict(level='parameters', features=None)])
def test_centerpoint_on_nuscenes(level):
    model, settings = build('centerpoint_nuscenes_balanced.py', shrink_centerpoint)
    optim_wrapper, moved = step(model, settings, lidar_batch(9), schedule=ALWAYS, **(level or {}))
    scalars = optim_wrapper.message_hub.log_scalars
    assert len(optim_wrapper.tasks) == 6
    assert {f'train/task_norm/{task}' for task in optim_wrapper.tasks} <= scalars.keys()
    for part in ('pts_voxel_encoder', 'pts_backbone', 'pts_neck', 'pts_bbox_head.task_heads.5'):
        assert any(name.startswith(part) for name in moved), part


def test_pointpillars_on_kitti():
    model, settings = build('pointpillars_kitti_balanced.py', shrink_pointpillars)
    optim_wrapper, moved = step(model, settings, lidar_batch(7))
    for part in ('voxel_encoder', 'backbone', 'neck', 'bbox_head.conv_dir_cls'):
        assert any(name.startswith(part) for name in moved), part
    assert 'train/cosine/classification~boxes' in optim_wrapper.message_hub.log_scalars


def test_retinanet_of_mmdet():
    cfg = Config.fromfile(Path(mmdet.__file__).parent / '.mim/configs' / RETINANET).model
    cfg.backbone.update(depth=18, base_channels=8, init_cfg=None, frozen_stages=-1)
    cfg.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    cfg.bbox_head.update(num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1)
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64), batch_input_shape=(64, 64)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]), labels=torch.tensor([1])
    )
    images = torch.randint(0, 255, (3, 64, 64), generator=torch.Generator().manual_seed(0))
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MMDET_MODELS.build(cfg).train()
        for level in ({}, dict(level='features', features='neck')):
            optim_wrapper, moved = step(
                model,
                dict(
                    type='ConflictSuppressingOptimWrapper',
                    tasks=dict(classification=['loss_cls'], boxes=['loss_bbox']),
                    schedule=ALWAYS,
                    **level,
                ),
                dict(inputs=[images], data_samples=[sample]),
            )
            for part in ('backbone.layer1', 'neck', 'bbox_head.retina_cls', 'bbox_head.retina_reg'):
                assert any(name.startswith(part) for name in moved), part
    assert 'train/cosine/classification~boxes' in optim_wrapper.message_hub.log_scalars
