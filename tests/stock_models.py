"""mmdet3d's own models at a size that a CPU trains in a second."""

from mmengine.config import ConfigDict

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
