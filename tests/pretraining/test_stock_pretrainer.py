"""The pretrainer on mmdet3d's own detectors: leaks, edge cases, what they return."""

import copy

import numpy as np
import pytest
import torch
from mmdet3d.models import MVXTwoStageDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config, ConfigDict

from tests.engine.stock_configs import DETECTORS, MIXED
from tests.stock_models import mvxnet, pv_rcnn, stock
from turbotrain.models import PortableSparseEncoder
from turbotrain.pretraining.masked_batch import MaskedBatch
from turbotrain.pretraining.stock import first_map


def build(name: str, **changes) -> torch.nn.Module:
    cfg = Config.fromfile(MIXED / f'{name}_pretrain.py').model
    DETECTORS[name][0](cfg.detector)
    torch.manual_seed(0)
    return MODELS.build(ConfigDict({**cfg, **changes}))


def batch_for(model, *points: int, seed: int = 0) -> dict:
    """Clouds spread over the model's range."""
    generator = torch.Generator().manual_seed(seed)
    low, high = model.limits[:3], model.limits[3:]
    features = 5 if low[0] < 0 else 4
    clouds = []
    for count in points:
        cloud = torch.rand(count, features, generator=generator)
        cloud[:, :3] = low + cloud[:, :3] * (high - low)
        clouds.append(cloud)
    return dict(inputs=dict(points=clouds), data_samples=[Det3DDataSample() for _ in points])


def losses_of(model, batch) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    losses = model(**copy.deepcopy(batch), mode='loss')
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    return losses


@pytest.mark.parametrize('name', DETECTORS)
@pytest.mark.parametrize('hiding', ['visible_only', 'token'])
def test_nothing_of_what_is_hidden_reaches_the_trunk(name, hiding):
    model = build(name, hiding=hiding).eval()
    if hiding == 'token':
        torch.nn.init.normal_(model.mask_token.vector)
    batch = batch_for(model, 600, 400)

    def encode() -> tuple[MaskedBatch, torch.Tensor]:
        torch.manual_seed(3)
        masked = MaskedBatch(batch['inputs'], batch['data_samples'], model.masking, model.limits)
        with torch.no_grad():
            return masked, model._encode(masked)['merged']

    masked, before = encode()
    extra = batch_for(model, 500, 500, seed=8)['inputs']['points']
    for k, hidden in enumerate(masked.masked.hidden):
        assert 0.5 < hidden.float().mean() < 0.9
        there = masked.masked.region.at(extra[k][:, :2], torch.full((500,), k))
        batch['inputs']['points'][k] = torch.cat([masked.clouds[k][~hidden], extra[k][there]])
    assert torch.equal(encode()[1], before)
    assert before.abs().max() > 0


@pytest.mark.parametrize('name', DETECTORS)
def test_every_part_of_the_trunk_learns_and_so_does_the_token(name):
    model = build(name, hiding='token')
    losses_of(model, batch_for(model, 600, 400))
    idle = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize('name', DETECTORS)
def test_edge_cases(name):
    for ratio in (0.0, 0.99, 1.0):
        model = build(name, masking=dict(ratio=ratio))
        losses = losses_of(model, batch_for(model, 600, 400))
        assert all((loss > 0) == (ratio > 0) for loss in losses.values())
    model = build(name)
    for points in ((0,), (0, 0), (300, 0), (0, 300)):
        losses = losses_of(model, batch_for(model, *points))
        assert losses['merged.loss_occupancy'] > 0
        assert (losses['merged.loss_chamfer'] > 0) == (max(points) > 0)


@pytest.mark.parametrize('name', DETECTORS)
def test_points_that_are_nowhere_in_range_count_for_nothing(name):
    """Beyond it, infinitely far, or NaN, as lidars mark rays without a return."""
    model = build(name).eval()
    batch = batch_for(model, 600, 0, 400)

    def encode() -> torch.Tensor:
        torch.manual_seed(3)
        masked = MaskedBatch(batch['inputs'], batch['data_samples'], model.masking, model.limits)
        with torch.no_grad():
            return model._encode(masked)['merged']

    expected = encode()
    clouds = batch['inputs']['points']
    lost = torch.zeros(40, clouds[0].shape[1])
    for rows, coordinate in zip(lost.split(10), (500.0, -500.0, torch.inf, torch.nan), strict=True):
        rows[:, 0] = rows[5:, 1] = coordinate
    batch['inputs']['points'] = [torch.cat([cloud, lost]) for cloud in clouds]
    assert torch.equal(encode(), expected)
    losses_of(model.train(), batch)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_the_portable_sparse_encoder_is_mmdet3ds():
    """Same weights by the same names; a voxel shows where it is, and moves the map along."""
    cfg = Config.fromfile(MIXED / 'second_kitti.py').model
    DETECTORS['second_kitti'][0](cfg)
    torch.manual_seed(0)
    ours = MODELS.build(cfg.middle_encoder).eval()
    stock = MODELS.build({**cfg.middle_encoder, 'type': 'SparseEncoder'})
    assert type(ours) is PortableSparseEncoder
    shapes = {key: value.shape for key, value in stock.state_dict().items()}
    assert shapes == {key: value.shape for key, value in ours.state_dict().items()}

    voxel = torch.randn(1, 4)
    coors = torch.tensor([[1, 20, 33, 17]])
    out = ours(voxel, coors, 2)
    assert out.shape == (2, 32, 8, 8) and not out[0].any() and out[1].any()
    rows, columns = out[1].abs().sum(0).nonzero().T
    # The voxel at row 33, column 17 lies at 4.1 and 2.1 of the map of stride 8.
    assert set(rows.tolist()) <= {4, 5} and set(columns.tolist()) <= {2, 3}
    moved = ours(voxel, coors + torch.tensor([0, 0, 8, 16]), 2)
    torch.testing.assert_close(moved[1, :, 5:, 4:], out[1, :, 4:-1, 2:-2])


def test_the_portable_sparse_encoder_takes_a_single_voxel_and_rough_ones():
    torch.manual_seed(0)
    encoder = MODELS.build(pv_rcnn().middle_encoder | dict(return_middle_feats=False))
    voxel, coors = torch.randn(1, 4), torch.tensor([[0, 20, 33, 17]])
    encoder(voxel, coors, 1).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())
    expected = encoder.eval()(voxel, coors, 1)
    with torch.autocast('cpu', torch.bfloat16):
        rough = encoder(voxel.bfloat16(), coors, 1)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, expected, atol=0.05, rtol=0.05)


def test_what_detectors_return_and_what_they_must_say():
    bev = torch.zeros(1, 4, 2, 2)
    for features in (bev, [bev], dict(neck_feats=[bev])):
        assert first_map(features, torch.nn.Identity()) is bev
    for images in (None, [torch.zeros(1, 8, 3, 3)]):
        assert first_map((images, [bev]), MVXTwoStageDetector()) is bev
    for features in ((None, None), [], dict(points=bev), bev[0]):
        with pytest.raises(ValueError, match="Identity is not a detector on a bird's-eye-view map"):
            first_map(features, torch.nn.Identity())
    with pytest.raises(ValueError, match='none of .* has in_channels'):
        model = Config.fromfile(MIXED / 'second_kitti_pretrain.py').model
        model.detector.bbox_head.in_channels = None
        MODELS.build(model)
    with pytest.raises(ValueError, match="'merged' is its own cloud"):
        build('second_kitti', targets=['own'])


@pytest.mark.parametrize(
    ('package', 'path'),
    [
        ('mmdet3d', '_base_/models/cylinder3d.py'),
        ('mmdet3d', '_base_/models/minkunet.py'),
        ('mmdet3d', '_base_/models/pointnet2_ssg.py'),
        ('mmdet3d', '_base_/models/votenet.py'),
        ('mmdet3d', '_base_/models/fcos3d.py'),
        ('mmdet', '_base_/models/retinanet_r50_fpn.py'),
        ('mmdet', 'yolox/yolox_tiny_8xb8-300e_coco.py'),
    ],
)
def test_what_has_no_map_is_refused_by_name(package, path):
    detector = stock(package, path)
    for name in {detector.type, f'{package}.{detector.type}'}:
        model = dict(type='MaskedPretrainer', detector={**detector, 'type': name})
        with pytest.raises(ValueError, match=f"{name} is not a detector on a bird's-eye-view map"):
            MODELS.build(model)


def test_a_two_stage_detector_is_pretrained_without_its_second_stage():
    model = MODELS.build(dict(type='MaskedPretrainer', detector=pv_rcnn()))
    losses_of(model, batch_for(model, 600, 400, 0))
    idle = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_cameras_go_along_and_the_map_is_that_of_the_points():
    model = MODELS.build(dict(type='MaskedPretrainer', detector=mvxnet()))
    data = batch_for(model, 600, 0, 400)
    data['inputs']['img'] = [torch.rand(3, 64, 96) for _ in range(3)]
    lidar2img = np.array([[48, -40, 0, 0], [32, 0, -40, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    for sample in data['data_samples']:
        sample.set_metainfo(dict(lidar2img=lidar2img, img_shape=(64, 96), scale_factor=np.ones(4)))
    losses_of(model, model.data_preprocessor(data, training=True))
    assert model.reconstruction_head['merged'].convs[0].conv.in_channels == 32
    idle = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle
    assert model.detector.img_backbone.conv1.weight.grad.any()


def test_voxels_of_unmasked_points_are_refused():
    cfg = Config.fromfile(MIXED / 'second_kitti_pretrain.py').model
    with pytest.raises(ValueError, match='voxelized after masking'):
        MODELS.build({**cfg, 'data_preprocessor': cfg.detector.data_preprocessor})


def test_the_portable_sparse_encoder_gives_its_stages_where_they_are_wanted():
    cfg = pv_rcnn().middle_encoder
    torch.manual_seed(0)
    both = MODELS.build(cfg).eval()
    alone = MODELS.build({**cfg, 'return_middle_feats': False}).eval()
    alone.load_state_dict(both.state_dict())
    voxels, coors = torch.randn(2, 4), torch.tensor([[0, 20, 33, 17], [1, 8, 40, 4]])
    bev, stages = both(voxels, coors, 2)
    assert torch.equal(bev, alone(voxels, coors, 2))
    assert [stage.spatial_shape[1:] for stage in stages] == [[64, 64], [32, 32], [16, 16], [8, 8]]
    assert stages[0].indices.tolist() == coors.tolist()
    # Each stage says something of either sample, at about the voxel's place.
    for sample, row, column in ((0, 33, 17), (1, 40, 4)):
        for stage in stages:
            own = stage.indices[stage.indices[:, 0] == sample].float()
            scale = 64 / stage.spatial_shape[1]
            assert (own[:, 2:] - torch.tensor([row, column]) / scale).abs().max() <= 1.01
