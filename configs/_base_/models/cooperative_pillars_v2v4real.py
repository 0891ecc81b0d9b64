# cooperative_pillars.py with V2V4Real's range and one class.
_base_ = './cooperative_pillars.py'
model = dict(
    point_cloud_range=[-102.4, -40.0, -5.0, 102.4, 40.0, 3.0],
    bbox_head=dict(
        num_classes=1,
        anchor_generator=dict(
            ranges=[[-102.4, -40.0, -1.78, 102.4, 40.0, -1.78]], sizes=[[3.9, 1.6, 1.56]]
        ),
    ),
    velocity_head=dict(num_classes=1),
    trajectory_head=dict(num_classes=1, follow_lanes=False),
    lane_bound=(),
    train_cfg=dict(assigner=_base_.model.train_cfg.assigner[:1]),
)
