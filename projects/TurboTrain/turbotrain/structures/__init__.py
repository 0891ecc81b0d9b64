"""What flows between the modules: poses, boxes, agents, trajectories, vector maps."""

from .agents import INFRASTRUCTURE, VEHICLE, Agents
from .boxes import BOX_EDGES, boxes_from_world, corners_inside, corners_of
from .lane_following import ALONG_LANE, NEAR_LANE, drive_along_lanes, driving_lanes
from .poses import (
    as_pose,
    invert_rigid,
    matrix_to_pose,
    pose_to_matrix,
    transform_points,
    wrapped,
    yaw_of,
)
from .projection import NEAR, ahead_part, project
from .trajectories import interpolate_missing_points, last_acceleration, last_velocity
from .vector_map import Lane, Map, MapPoint, move_polylines, nearest_polylines, polylines_of

__all__ = [
    'ALONG_LANE',
    'BOX_EDGES',
    'INFRASTRUCTURE',
    'NEAR',
    'NEAR_LANE',
    'VEHICLE',
    'Agents',
    'Lane',
    'Map',
    'MapPoint',
    'ahead_part',
    'as_pose',
    'boxes_from_world',
    'corners_inside',
    'corners_of',
    'drive_along_lanes',
    'driving_lanes',
    'interpolate_missing_points',
    'invert_rigid',
    'last_acceleration',
    'last_velocity',
    'matrix_to_pose',
    'move_polylines',
    'nearest_polylines',
    'polylines_of',
    'pose_to_matrix',
    'project',
    'transform_points',
    'wrapped',
    'yaw_of',
]
