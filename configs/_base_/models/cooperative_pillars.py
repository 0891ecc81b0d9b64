# Pillars -> SECOND -> temporal attention -> heterogeneous attention over agents -> two heads.
# Sizes follow V2X-Real's PointPillars where they are known; the rest is our choice.
model = dict(
    type='CooperativeDetector',
    point_cloud_range=[-70.4, -40.0, -5.0, 70.4, 40.0, 3.0],
    channels=256,
    data_preprocessor=dict(type='CooperativeDataPreprocessor', non_blocking=True),
    encoder=dict(type='DensePillarEncoder', pillar_size=[0.4, 0.4], out_channels=64),
    backbone=dict(
        type='SECOND',
        in_channels=64,
        layer_nums=[3, 5, 8],
        layer_strides=[2, 2, 2],
        out_channels=[64, 128, 256],
    ),
    # 128 channels each and a layer that shrinks 384 to 256 in V2X-Real; one layer less here.
    neck=dict(
        type='SECONDFPN',
        in_channels=[64, 128, 256],
        upsample_strides=[1, 2, 4],
        out_channels=[64, 64, 128],
    ),
    temporal_neck=dict(type='TemporalAttentionNeck', num_heads=8),
    fusion_neck=dict(type='HeterogeneousAttentionFusion', num_heads=8),
    bbox_head=dict(
        type='Anchor3DHead',
        num_classes=3,
        feat_channels=256,
        use_direction_classifier=True,
        assign_per_class=True,
        anchor_generator=dict(
            type='AlignedAnchor3DRangeGenerator',
            # V2X-Real's sizes. All stand on the road (our choice; there pedestrians float).
            ranges=[[-70.4, -40.0, -1.78, 70.4, 40.0, -1.78]],
            sizes=[[3.9, 1.6, 1.56], [0.8, 0.6, 1.73], [8.0, 3.0, 3.0]],
            rotations=[0, 1.57],
            reshape_out=False,
        ),
        diff_rad_by_sin=True,
        # The border between front and rear at 45 degrees from the axes: mmdet3d's default puts it
        # on the second anchor, and onto cross traffic.
        dir_offset=-0.7854,
        bbox_coder=dict(type='DeltaXYZWLHRBBoxCoder'),
        loss_cls=dict(
            type='mmdet.FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
        ),
        loss_bbox=dict(type='mmdet.SmoothL1Loss', beta=1.0 / 9.0, loss_weight=2.0),
        loss_dir=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=False, loss_weight=0.2),
    ),
    velocity_head=dict(type='VelocityHead', num_classes=3, num_frames=5),
    trajectory_head=dict(
        type='TrajectoryHead',
        num_classes=3,
        motion_channels=128,
        follow_lanes=True,
        feat_channels=256,
        loss_weight=0.2,
    ),
    # All our choice, on mini's validation split: see docs/experiments.md.
    past_gradients=False,
    duplicates=dict(iou_thr=0.02, factor=0.5),
    lane_bound=(0, 2),  # vehicles and trucks
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
            for positive, negative in ((0.6, 0.45), (0.5, 0.35), (0.6, 0.45))
        ],
        allowed_border=0,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        use_rotate_nms=True,
        nms_across_levels=False,
        nms_thr=0.15,
        score_thr=0.2,
        min_bbox_size=0,
        nms_pre=1000,
        max_num=300,
    ),
)
