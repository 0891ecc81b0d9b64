# cooperative_pillars.py with OPV2V's range and one class; V2XSet's too.
_base_ = './cooperative_pillars.py'
model = dict(
    point_cloud_range=[-140.8, -40.0, -3.0, 140.8, 40.0, 1.0],
    bbox_head=dict(
        num_classes=1,
        anchor_generator=dict(
            ranges=[[-140.8, -40.0, -1.78, 140.8, 40.0, -1.78]], sizes=[[3.9, 1.6, 1.56]]
        ),
    ),
    velocity_head=dict(num_classes=1),
    trajectory_head=dict(num_classes=1, follow_lanes=False),
    lane_bound=(),
    train_cfg=dict(assigner=_base_.model.train_cfg.assigner[:1]),
)
