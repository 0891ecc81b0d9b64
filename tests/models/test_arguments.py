"""Arguments that could only be ignored, or quietly changed, are refused."""

from pathlib import Path

import pytest
from mmdet3d.registry import MODELS
from mmengine.config import Config

RANGE = [-8.0, -8.0, -3.0, 8.0, 8.0, 1.0]
MINI = Path(__file__).parents[2] / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py'
TRAJECTORIES = dict(in_channels=8, num_classes=3)


@pytest.mark.parametrize(
    ('kind', 'settings', 'wrong'),
    [
        ('MaskedReconstructionHead', dict(in_channels=8), dict(num_convs=0)),
        ('MaskedReconstructionHead', dict(in_channels=8), dict(num_points=0)),
        ('MaskedReconstructionHead', dict(in_channels=8), dict(max_targets=0)),
        ('V2VNetFusion', dict(channels=8), dict(num_rounds=0)),
        ('V2XViTFusion', dict(channels=64), dict(depth=0)),
        ('SparsePillarEncoder', dict(pillar_size=[0.5, 0.5]), dict(depth=0)),
        ('TrajectoryHead', TRAJECTORIES, dict(num_modes=0)),
        ('TrajectoryHead', TRAJECTORIES, dict(num_modes=0)),
    ],
)
def test_numbers_without_meaning(kind, settings, wrong):
    config = dict(type=kind, point_cloud_range=RANGE, **settings)
    MODELS.build(config)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MODELS.build(config | wrong)


def test_voxels_that_no_cooperative_model_reads():
    size = dict(voxel_size=[0.5, 0.5, 4], point_cloud_range=RANGE, max_num_points=5)
    voxels = dict(voxel=True, voxel_layer=dict(size, max_voxels=(9, 9)))
    with pytest.raises(ValueError, match='voxel=True'):
        MODELS.build(dict(type='CooperativeDataPreprocessor', **voxels))


@pytest.mark.parametrize('name', ['train_cfg', 'test_cfg'])
def test_settings_of_the_head_in_the_wrong_place(name):
    model = Config.fromfile(MINI).model
    model.bbox_head[name] = model[name]
    with pytest.raises(ValueError, match=rf'bbox_head\.{name}'):
        MODELS.build(model)
