"""Unchanged models of mmdet3d and mmdet take balanced steps, at a reduced size, on a CPU."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmdet.structures import DetDataSample
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config, ConfigDict
from mmengine.registry import OPTIM_WRAPPERS, DefaultScope
from mmengine.structures import InstanceData

from tests.stock_models import faster_rcnn, shrink_centerpoint, shrink_pointpillars, stock, yolox

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


def image_batch() -> dict:
    meta = dict(
        img_shape=(64, 64), ori_shape=(64, 64), batch_input_shape=(64, 64), scale_factor=(1, 1)
    )
    sample = DetDataSample(metainfo=meta)
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]), labels=torch.tensor([1])
    )
    image = torch.randint(0, 255, (3, 64, 64), generator=torch.Generator().manual_seed(0))
    return dict(inputs=[image] * 2, data_samples=[sample] * 2)


def retinanet() -> ConfigDict:
    cfg = stock('mmdet', '_base_/models/retinanet_r50_fpn.py')
    cfg.backbone.update(depth=18, base_channels=8, init_cfg=None, frozen_stages=-1)
    cfg.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    cfg.bbox_head.update(num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1)
    return cfg


TWO_STAGES = dict(proposals='loss_rpn_*', boxes=['loss_cls', 'loss_bbox'])
ONE_STAGE = dict(classification='loss_cls', boxes=['loss_bbox', 'loss_obj'])


@pytest.mark.parametrize(
    ('config', 'tasks', 'features'),
    [
        (retinanet, ONE_STAGE, None),
        (retinanet, ONE_STAGE, 'neck'),
        (retinanet, ONE_STAGE, 'bbox_head.retina_cls'),
        (yolox, ONE_STAGE, 'neck'),
        (faster_rcnn, TWO_STAGES, None),
        (faster_rcnn, TWO_STAGES, 'neck'),
        # The losses of the one stage go around the other.
        (faster_rcnn, TWO_STAGES, 'rpn_head.rpn_conv'),
        (faster_rcnn, TWO_STAGES, 'roi_head.bbox_roi_extractor'),
    ],
)
def test_detectors_of_mmdet(config, tasks, features):
    level = dict(level='features', features=features) if features else {}
    settings = dict(type='ConflictSuppressingOptimWrapper', tasks=tasks, schedule=ALWAYS, **level)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MMDET_MODELS.build(config()).train()
        _, moved = step(model, settings, image_batch())
    assert {name.split('.')[0] for name in moved} == {
        name for name, _ in model.named_children()
    } - {'data_preprocessor'}
