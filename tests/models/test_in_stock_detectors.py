"""Fusion necks and forecasting heads within mmdet3d's own PointPillars."""

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData
from torch import nn

from tests.stock_data import KITTI, make_cloud, make_objects
from tests.stock_models import RANGE, shrink_pointpillars, stock

C, STEPS, FRAMES = 48, 4, 3
WINDOWS = dict(windows=(2, 4), window_channels=(16, 16))
# What each takes of the detector's 48 channels, and how many it gives.
NECKS = dict(
    AttFuseFusion=({}, C),
    CoBEVFlowFusion=(dict(channels=C - 2), C - 2),
    DiscoNetFusion=(dict(channels=C), C),
    FCooperFusion=({}, C),
    FFNetFusion=(dict(channels=C // 2), C // 2),
    HeterogeneousAttentionFusion=(dict(channels=C), C),
    V2VNetFusion=(dict(channels=C), C),
    V2XPnPFusion=(dict(channels=C, **WINDOWS), C),
    V2XViTFusion=(dict(channels=C, depth=1, **WINDOWS), C),
    Where2commFusion=(dict(channels=C), C),
)


def detector(channels: int) -> nn.Module:
    model = stock('mmdet3d', 'pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py')
    shrink_pointpillars(model)
    model.bbox_head.update(in_channels=channels, feat_channels=channels)
    torch.manual_seed(0)
    return MODELS.build(model)


def scene(agents: int) -> tuple[Det3DDataSample, list[torch.Tensor]]:
    """A sample, and what each agent sees of it, in the ego's frame: other points each."""
    rng = np.random.default_rng(agents)
    boxes, objects = make_objects(rng, KITTI)
    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
    velocity = torch.tensor([[1.0, 0.5]]).repeat(len(boxes), 1)
    times = 0.5 * torch.arange(1, STEPS + 1)[:, None]
    centres = torch.tensor(boxes[:, None, :2], dtype=torch.float32)
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.tensor(boxes, dtype=torch.float32)),
        labels_3d=torch.arange(len(boxes)),
        velocity=velocity,
        velocity_valid=torch.ones(len(boxes), dtype=torch.bool),
        acceleration=torch.zeros(len(boxes), 2),
        acceleration_valid=torch.ones(len(boxes), dtype=torch.bool),
        future_trajectories=centres + velocity[:, None] * times,
        future_valid=torch.ones(len(boxes), STEPS, dtype=torch.bool),
    )
    clouds = [torch.from_numpy(make_cloud(rng, objects, 4)) for _ in range(agents)]
    return sample, clouds


@pytest.mark.parametrize('name', NECKS)
def test_a_stock_detector_cooperates(name):
    """One neck between its map and its head, two samples of two agents and of one."""
    given, channels = NECKS[name]
    model = detector(channels)
    neck = MODELS.build(dict(type=name, point_cloud_range=RANGE, **given))
    (first, two), (second, one) = scene(2), scene(1)
    samples, clouds = [first, second], [*two, *one]
    data = model.data_preprocessor(dict(inputs=dict(points=clouds), data_samples=[]), False)

    def fused() -> torch.Tensor:
        (maps,) = model.extract_feat(data['inputs'])
        valid = torch.ones(len(clouds), dtype=torch.bool)
        return neck(maps, [2, 1], torch.tensor([0, 1, 0]), valid)

    total, _ = model.parse_losses(model.bbox_head.loss([fused()], samples))
    total.backward()
    assert torch.isfinite(total)
    for part in (model.voxel_encoder, model.backbone, model.neck, neck, model.bbox_head):
        assert all(p.grad is not None for p in part.parameters())
    assert next(model.voxel_encoder.parameters()).grad.any()
    model.eval(), neck.eval()
    with torch.no_grad():
        found = model.bbox_head.predict([fused()], samples)
    assert len(found) == 2 and all(one.bboxes_3d.tensor.shape[1] == 7 for one in found)


def test_a_stock_detectors_boxes_are_forecast():
    """From its map and its points; nothing else of this project."""
    model = detector(C).eval()
    sample, clouds = scene(FRAMES)
    data = model.data_preprocessor(dict(inputs=dict(points=clouds[-1:]), data_samples=[]), False)
    velocity = MODELS.build(
        dict(
            type='VelocityHead', num_classes=3, num_frames=FRAMES, feat_channels=64,
            point_cloud_range=RANGE,
        )
    )  # fmt: skip
    paths = MODELS.build(
        dict(
            type='TrajectoryHead', in_channels=C, num_classes=3, num_steps=STEPS,
            motion_channels=64, point_cloud_range=RANGE,
        )
    )  # fmt: skip
    (bev,) = model.extract_feat(data['inputs'])
    maps = velocity.look(clouds, None, torch.zeros(1, dtype=torch.long), 1)
    truth = sample.gt_instances_3d
    boxes, labels = [truth.bboxes_3d.tensor], [truth.labels_3d]
    losses, motions = velocity.loss_and_predict(maps, boxes, labels, [truth])
    losses |= paths.loss(
        bev, boxes, labels, [truth.future_trajectories], [truth.future_valid], motions
    )
    sum(losses.values()).backward()
    for head in (velocity, paths):
        assert all(p.grad is not None for p in head.parameters())
    model.bbox_head.test_cfg.update(score_thr=0.0)
    with torch.no_grad():
        (found,) = model.bbox_head.predict([bev.detach()], [sample])
        boxes, labels = [found.bboxes_3d.tensor], [found.labels_3d]
        assert len(found)
        motions = velocity.eval().predict(maps, boxes, labels)
        ((forecasts, scores),) = paths.eval().predict(bev, boxes, labels, motions)
    assert motions[0].velocity.shape == (len(found), 2)
    assert forecasts.shape == (len(found), 1, STEPS, 2) and scores.shape == (len(found), 1)
    assert forecasts.isfinite().all()
