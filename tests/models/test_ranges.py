"""One map has one range: parts of a detector that are told another are refused by name."""

from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config, ConfigDict

from turbotrain.models.ranges import refuse_other_ranges, refuse_outside

CONFIGS = Path(__file__).parents[2] / 'configs'
MINI = [-51.2, -25.6, -5.0, 51.2, 25.6, 3.0]
HALF = [0.0, -25.6, -5.0, 51.2, 25.6, 3.0]
TWICE = [-102.4, -51.2, -5.0, 102.4, 51.2, 3.0]


def model_of(name: str, changes: dict) -> ConfigDict:
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    return cfg.model


@pytest.mark.parametrize('other', [HALF, TWICE])
@pytest.mark.parametrize(
    ('name', 'part'),
    [
        ('turbotrain/mini/finetune_mini_v2xpnp', 'encoder'),
        ('turbotrain/mini/finetune_mini_v2xpnp', 'temporal_neck'),
        ('turbotrain/mini/finetune_mini_v2xpnp', 'fusion_neck'),
        ('turbotrain/mini/finetune_mini_v2xpnp', 'velocity_head'),
        ('turbotrain/mini/finetune_mini_v2xpnp', 'trajectory_head'),
        ('turbotrain/mini/finetune_mini_v2xpnp_sparse', 'encoder'),
        ('turbotrain/mini/pretrain_mini_v2xpnp', 'detector.encoder'),
        ('turbotrain/mini/pretrain_mini_v2xpnp', 'reconstruction_head'),
        ('benchmark/mini/v2xpnp-map_mini_v2xpnp', 'map_neck'),
        ('benchmark/mini/cobevflow_mini_v2xpnp', 'temporal_neck.temporal_neck'),
        ('benchmark/mini/late-fusion_mini_v2xpnp', 'temporal_neck'),
    ],
)
def test_a_part_with_another_range_is_refused(name, part, other):
    key = f'{part}.point_cloud_range'
    with pytest.raises(ValueError, match=r'agree in x and y') as error:
        MODELS.build(model_of(name, {key: other}))
    told = str(error.value)
    assert key.removeprefix('detector.') in told
    assert str(other) in told and str(MINI) in told


@pytest.mark.parametrize(
    'ranges', [[[*HALF[:2], -2, *HALF[3:5], -2]], [[*TWICE[:2], -2, *TWICE[3:5], -2]]]
)
def test_anchors_elsewhere_are_refused(ranges):
    key = 'bbox_head.anchor_generator.ranges'
    with pytest.raises(ValueError, match=rf'{key}.* point_cloud_range is'):
        MODELS.build(model_of('turbotrain/mini/finetune_mini_v2xpnp', {key: ranges}))


def test_a_range_of_evaluation_that_is_none():
    with pytest.raises(ValueError, match=r'eval_range: expected \(x_min.*got \[0, 1\]'):
        refuse_outside('eval_range', [0, 1], 'model.point_cloud_range', MINI)


def test_what_may_differ():
    """Heights, half a cell at the border, one range for each class."""
    name = 'point_cloud_range'
    flat = dict(temporal_neck=dict(point_cloud_range=[*MINI[:2], -1, *MINI[3:5], 1]))
    refuse_other_ranges(name, MINI, flat)
    inset = [[-50.8, -25.2, z, 50.8, 25.2, z] for z in (-2, -1.5, 0)]
    refuse_other_ranges(name, MINI, dict(head=dict(anchor_generator=dict(ranges=inset))))
    centre = dict(bbox_head=dict(bbox_coder=dict(pc_range=MINI[:2])), train_cfg=None)
    refuse_other_ranges(name, MINI, centre)
    with pytest.raises(ValueError, match=r'bbox_coder\.pc_range'):
        refuse_other_ranges(name, HALF, centre)


def test_a_teacher_of_another_range_is_refused():
    cfg = model_of('benchmark/mini/disconet_mini_v2xpnp', {})
    teacher = Config.fromfile(CONFIGS / 'benchmark/mini/early-fusion_mini_v2xpnp.py').model
    teacher.point_cloud_range = HALF
    cfg.teacher = teacher
    with pytest.raises(ValueError, match=r'teacher\.point_cloud_range'):
        MODELS.build(cfg).teacher('cpu')


def test_parts_get_what_the_detector_is_told():
    """Range, channels and normalisation are said once; what a part says itself stays."""
    norm = dict(type='BN2d', eps=0.5, momentum=0.25)
    changes = {
        'channels': 32,
        'norm_cfg': norm,
        'neck.out_channels': [16, 16],
        'fusion_neck.norm_cfg': dict(type='BN2d', momentum=0.125),
        'temporal_neck.temporal_neck.num_heads': 2,
    }
    model = MODELS.build(model_of('benchmark/mini/ffnet_mini_v2xpnp', changes))
    assert model.temporal_neck.temporal_neck.point_cloud_range == MINI
    assert model.temporal_neck.temporal_neck.time_embedding.out_features == 32
    assert model.bev_neck.in_channels == [32]
    assert model.fusion_neck.point_cloud_range == MINI
    norms = {
        name: (layer.eps, layer.momentum)
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.BatchNorm2d)
    }
    assert {v for k, v in norms.items() if k.startswith('fusion_neck')} == {(1e-5, 0.125)}
    assert {v for k, v in norms.items() if not k.startswith('fusion_neck')} == {(0.5, 0.25)}
