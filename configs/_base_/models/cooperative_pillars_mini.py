# cooperative_pillars.py, small enough to train on two CPU cores in minutes: agents share maps of
# 1.6 m cells, most layers work on the one fused map, which goes to the heads at 0.8 m.
_base_ = './cooperative_pillars.py'
model_range = [-51.2, -25.6, -5.0, 51.2, 25.6, 3.0]
channels = 64
norm_cfg = dict(type='BN2d', eps=1e-3, momentum=0.05)
model = dict(
    encoder=dict(point_cloud_range=model_range, pillar_size=[0.8, 0.8], out_channels=32),
    backbone=dict(
        in_channels=32,
        layer_nums=[1, 1],
        layer_strides=[2, 2],
        out_channels=[64, 64],
        norm_cfg=norm_cfg,
    ),
    neck=dict(
        in_channels=[64, 64], upsample_strides=[1, 2], out_channels=[32, 32], norm_cfg=norm_cfg
    ),
    temporal_neck=dict(
        channels=channels, num_heads=4, point_cloud_range=model_range, norm_cfg=norm_cfg
    ),
    fusion_neck=dict(
        channels=channels,
        num_heads=4,
        num_convs=4,
        point_cloud_range=model_range,
        norm_cfg=norm_cfg,
    ),
    bev_neck=dict(
        type='SECONDFPN',
        in_channels=[channels],
        upsample_strides=[2],
        out_channels=[channels],
        norm_cfg=norm_cfg,
    ),
    bbox_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(ranges=[[-51.2, -25.6, -1.78, 51.2, 25.6, -1.78]]),
    ),
    trajectory_head=dict(in_channels=channels, point_cloud_range=model_range, feat_channels=128),
)
