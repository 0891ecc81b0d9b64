"""mmdet3d's own models at a size that a CPU trains in a second."""

from pathlib import Path

import mmdet
import mmdet3d
from mmengine.config import Config, ConfigDict

RANGE = [0.0, -12.8, -3.0, 25.6, 12.8, 1.0]


def shrink_centerpoint(model: ConfigDict) -> None:
    voxel, span = [0.8, 0.8, 8], [-25.6, -25.6, -5.0, 25.6, 25.6, 3.0]
    voxels = dict(voxel_size=voxel, point_cloud_range=span)
    model.data_preprocessor.voxel_layer.update(voxels)
    model.pts_voxel_encoder.update(voxels, feat_channels=[16])
    model.pts_middle_encoder.update(in_channels=16, output_shape=(64, 64))
    model.pts_backbone.update(in_channels=16, out_channels=[16, 16, 16], layer_nums=[1, 1, 1])
    model.pts_neck.update(in_channels=[16, 16, 16], out_channels=[16, 16, 16])
    model.pts_bbox_head.update(in_channels=48, share_conv_channel=16)
    model.pts_bbox_head.bbox_coder.update(pc_range=span[:2], voxel_size=voxel[:2])
    model.train_cfg.pts.update(grid_size=[64, 64, 1], **voxels)


def shrink_pointpillars(model: ConfigDict) -> None:
    voxels = dict(voxel_size=[0.4, 0.4, 4], point_cloud_range=RANGE)
    model.data_preprocessor.voxel_layer.update(voxels)
    model.voxel_encoder.update(voxels, feat_channels=[16])
    model.middle_encoder.update(in_channels=16, output_shape=[64, 64])
    model.backbone.update(in_channels=16, out_channels=[16, 16, 16], layer_nums=[1, 1, 1])
    model.neck.update(in_channels=[16, 16, 16], out_channels=[16, 16, 16])
    model.bbox_head.update(in_channels=48, feat_channels=48)
    model.bbox_head.anchor_generator.ranges = [
        [*RANGE[:2], z, *RANGE[3:5], z] for z in (-0.6, -0.6, -1.78)
    ]


def shrink_second(model: ConfigDict) -> None:
    model.data_preprocessor.voxel_layer.update(voxel_size=[0.4, 0.4, 0.1], point_cloud_range=RANGE)
    model.middle_encoder.update(sparse_shape=[41, 64, 64], output_channels=16)
    model.backbone.update(in_channels=32, out_channels=[16, 16], layer_nums=[1, 1])
    model.neck.update(in_channels=[16, 16], out_channels=[16, 16])
    model.bbox_head.update(in_channels=32, feat_channels=32)
    model.bbox_head.anchor_generator.ranges = [
        [*RANGE[:2], z, *RANGE[3:5], z] for z in (-0.6, -0.6, -1.78)
    ]


def stock(package: str, path: str) -> ConfigDict:
    """A model of a config that comes with ``mmdet3d`` or ``mmdet``."""
    root = Path(dict(mmdet=mmdet, mmdet3d=mmdet3d)[package].__file__).parent
    return Config.fromfile(root / '.mim/configs' / path).model


def pv_rcnn() -> ConfigDict:
    """Its first stage is small; the second one needs a GPU."""
    model = stock('mmdet3d', 'pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py')
    model.data_preprocessor.voxel_layer.update(voxel_size=[0.4, 0.4, 0.1], point_cloud_range=RANGE)
    model.middle_encoder.update(
        type='PortableSparseEncoder', sparse_shape=[41, 64, 64], output_channels=16
    )
    model.backbone.update(in_channels=32, out_channels=[16, 16], layer_nums=[1, 1])
    model.neck.update(in_channels=[16, 16], out_channels=[16, 16])
    model.rpn_head.update(in_channels=32, feat_channels=32)
    return model


def mvxnet() -> ConfigDict:
    """Camera and LiDAR. Voxels of its own kind need a GPU: these are padded ones."""
    model = stock('mmdet3d', 'mvxnet/mvxnet_fpn_dv_second_secfpn_8xb2-80e_kitti-3d-3class.py')
    voxels = dict(voxel_size=[0.4, 0.4, 0.1], point_cloud_range=RANGE)
    model.type, model.data_preprocessor.voxel_type = 'MVXFasterRCNN', 'hard'
    model.data_preprocessor.voxel_layer.update(max_num_points=5, max_voxels=(2000, 2000), **voxels)
    model.img_backbone.update(depth=18, base_channels=8, frozen_stages=-1, norm_eval=False)
    model.img_neck.update(in_channels=[8, 16, 32, 64], out_channels=8)
    model.pts_voxel_encoder.update(type='HardVFE', feat_channels=[16, 16], **voxels)
    model.pts_voxel_encoder.fusion_layer.update(
        img_channels=8, pts_channels=16, mid_channels=16, out_channels=16
    )
    model.pts_middle_encoder.update(
        type='PortableSparseEncoder', in_channels=16, sparse_shape=[41, 64, 64], output_channels=16
    )
    model.pts_backbone.update(in_channels=32, out_channels=[16, 16], layer_nums=[1, 1])
    model.pts_neck.update(in_channels=[16, 16], out_channels=[16, 16])
    model.pts_bbox_head.update(in_channels=32, feat_channels=32)
    model.pts_bbox_head.anchor_generator.ranges = [
        [*RANGE[:2], z, *RANGE[3:5], z] for z in (-0.6, -0.6, -1.78)
    ]
    return model


def faster_rcnn() -> ConfigDict:
    model = stock('mmdet', '_base_/models/faster-rcnn_r50_fpn.py')
    model.backbone.update(depth=18, base_channels=8, init_cfg=None, frozen_stages=-1)
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    model.roi_head.bbox_roi_extractor.update(out_channels=16)
    model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32, num_classes=3)
    return model


def yolox() -> ConfigDict:
    model = stock('mmdet', 'yolox/yolox_tiny_8xb8-300e_coco.py')
    model.data_preprocessor.batch_augments = None
    model.backbone.update(widen_factor=0.125)
    model.neck.update(in_channels=[32, 64, 128], out_channels=24)
    model.bbox_head.update(in_channels=24, feat_channels=24, num_classes=3)
    return model
