# cooperative_pillars.py with V2X-Real's range.
_base_ = './cooperative_pillars.py'
model = dict(
    point_cloud_range=[-102.4, -40.0, -15.0, 102.4, 40.0, 15.0],
    bbox_head=dict(anchor_generator=dict(ranges=[[-102.4, -40.0, -1.78, 102.4, 40.0, -1.78]])),
    trajectory_head=dict(follow_lanes=False),
    lane_bound=(),
)
