# cooperative_pillars.py with V2X-Real's range.
_base_ = './cooperative_pillars.py'
model_range = [-102.4, -40.0, -15.0, 102.4, 40.0, 15.0]
model = dict(
    encoder=dict(point_cloud_range=model_range),
    temporal_neck=dict(point_cloud_range=model_range),
    fusion_neck=dict(point_cloud_range=model_range),
    bbox_head=dict(anchor_generator=dict(ranges=[[-102.4, -40.0, -1.78, 102.4, 40.0, -1.78]])),
    velocity_head=dict(point_cloud_range=model_range),
    trajectory_head=dict(point_cloud_range=model_range, follow_lanes=False),
    lane_bound=(),
)
