# cooperative_pillars.py, small enough to train on two CPU cores in minutes: agents share maps of
# 1.6 m cells, most layers work on the one fused map, which goes to the heads at 0.8 m.
# All values are our choice.
_base_ = './cooperative_pillars.py'
model = dict(
    point_cloud_range=[-51.2, -25.6, -5.0, 51.2, 25.6, 3.0],
    channels=64,
    norm_cfg=dict(type='BN2d', eps=1e-3, momentum=0.05),
    encoder=dict(pillar_size=[0.8, 0.8], out_channels=32),
    backbone=dict(in_channels=32, layer_nums=[1, 1], layer_strides=[2, 2], out_channels=[64, 64]),
    neck=dict(in_channels=[64, 64], upsample_strides=[1, 2], out_channels=[32, 32]),
    temporal_neck=dict(num_heads=4),
    fusion_neck=dict(num_heads=4, num_convs=4),
    bev_neck=dict(type='SECONDFPN', upsample_strides=[2], out_channels=[64]),
    bbox_head=dict(
        feat_channels=64,
        # Mean sizes of the simulated road users.
        anchor_generator=dict(
            ranges=[[-51.2, -25.6, -2.0, 51.2, 25.6, -2.0]],
            sizes=[[4.7, 1.9, 1.6], [0.9, 0.7, 1.7], [6.5, 2.2, 2.6]],
        ),
    ),
    velocity_head=dict(num_frames=3),
    trajectory_head=dict(feat_channels=128),
    # Cells of 0.8 m leave anchors further from objects than the full model's thresholds allow.
    train_cfg=dict(
        assigner=[
            dict(
                type='BatchedMax3DIoUAssigner',
                iou_calculator=dict(type='BboxOverlapsNearest3D'),
                pos_iou_thr=positive,
                neg_iou_thr=negative,
                min_pos_iou=negative,
                ignore_iof_thr=-1,
            )
            for positive, negative in ((0.5, 0.35), (0.3, 0.15), (0.5, 0.35))
        ]
    ),
    test_cfg=dict(score_thr=0.1),
)
