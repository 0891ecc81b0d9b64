"""One map has one range: parts of a detector that are told another are refused by name."""

from pathlib import Path

import pytest
from mmdet3d.registry import MODELS
from mmengine.config import Config, ConfigDict

from turbotrain.models.ranges import refuse_other_ranges

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
        ('benchmark/mini/late-fusion_mini_v2xpnp', ''),
    ],
)
def test_a_part_with_another_range_is_refused(name, part, other):
    key = f'{part}.point_cloud_range'.lstrip('.')
    with pytest.raises(ValueError, match=r'agree in x and y') as error:
        MODELS.build(model_of(name, {key: other}))
    told = str(error.value)
    words = (
        ('range is', 'range is')
        if part == 'reconstruction_head'
        else (
            'encoder.point_cloud_range',
            key if not part.endswith('encoder') else '_neck.point_cloud_range',
        )
    )
    assert all(word in told for word in words)
    assert str(other) in told and str(MINI) in told


@pytest.mark.parametrize(
    'ranges', [[[*HALF[:2], -2, *HALF[3:5], -2]], [[*TWICE[:2], -2, *TWICE[3:5], -2]]]
)
def test_anchors_elsewhere_are_refused(ranges):
    key = 'bbox_head.anchor_generator.ranges'
    with pytest.raises(ValueError, match=rf'{key}.* encoder\.point_cloud_range'):
        MODELS.build(model_of('turbotrain/mini/finetune_mini_v2xpnp', {key: ranges}))


def test_what_may_differ():
    """Heights, half a cell at the border, one range for each class; encoders that say nothing."""
    name = 'encoder.point_cloud_range'
    flat = dict(temporal_neck=dict(point_cloud_range=[*MINI[:2], -1, *MINI[3:5], 1]))
    refuse_other_ranges(name, MINI, flat)
    inset = [[-50.8, -25.2, z, 50.8, 25.2, z] for z in (-2, -1.5, 0)]
    refuse_other_ranges(name, MINI, dict(head=dict(anchor_generator=dict(ranges=inset))))
    centre = dict(bbox_head=dict(bbox_coder=dict(pc_range=MINI[:2])), train_cfg=None)
    refuse_other_ranges(name, MINI, centre)
    refuse_other_ranges(name, None, dict(neck=dict(point_cloud_range=HALF)))
    with pytest.raises(ValueError, match=r'bbox_coder\.pc_range'):
        refuse_other_ranges(name, HALF, centre)


def test_a_teacher_of_another_range_is_refused():
    cfg = model_of('benchmark/mini/disconet_mini_v2xpnp', {})
    teacher = Config.fromfile(CONFIGS / 'benchmark/mini/early-fusion_mini_v2xpnp.py').model
    for part in ('encoder', 'temporal_neck', 'fusion_neck', 'velocity_head', 'trajectory_head'):
        teacher[part].point_cloud_range = HALF
    cfg.teacher = teacher
    with pytest.raises(ValueError, match=r'teacher\.encoder\.point_cloud_range'):
        MODELS.build(cfg).teacher('cpu')
