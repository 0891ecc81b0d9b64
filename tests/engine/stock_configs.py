"""Configs that pretrain mmdet3d's own detectors."""

from pathlib import Path

from tests.stock_models import shrink_centerpoint, shrink_pointpillars, shrink_second

MIXED = Path(__file__).parents[2] / 'configs/mixed'
DETECTORS = {
    'pointpillars_kitti': (shrink_pointpillars, {'voxel_encoder', 'backbone', 'neck'}),
    'second_kitti': (shrink_second, {'middle_encoder', 'backbone', 'neck'}),
    'centerpoint_nuscenes': (
        shrink_centerpoint,
        {'pts_voxel_encoder', 'pts_backbone', 'pts_neck'},
    ),
}
