"""The pretrainer on mmdet3d's own detectors: leaks, edge cases, what they return."""

import copy

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config, ConfigDict

from projects.TurboTrain.turbotrain.models import PortableSparseEncoder
from projects.TurboTrain.turbotrain.models.detectors.masked_batch import MaskedBatch
from projects.TurboTrain.turbotrain.models.detectors.stock import first_map, range_of
from tests.engine.test_stock_pretraining import DETECTORS, MIXED


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


def test_what_detectors_return_and_what_they_must_say():
    bev = torch.zeros(1, 4, 2, 2)
    for features in (bev, [bev], (None, [bev]), dict(neck_feats=[bev])):
        assert first_map(features) is bev
    with pytest.raises(ValueError, match='no bird'):
        first_map((None, None))
    with pytest.raises(ValueError, match='VoteNet: the config has neither'):
        range_of(dict(type='VoteNet'))
    with pytest.raises(ValueError, match='none of .* has in_channels'):
        model = Config.fromfile(MIXED / 'second_kitti_pretrain.py').model
        model.detector.bbox_head.in_channels = None
        MODELS.build(model)
    with pytest.raises(ValueError, match="'merged' is its own cloud"):
        build('second_kitti', targets=['own'])
