"""Vector maps of V2XPnP-Seq: lanes on disk, ten-point polylines in samples.

Source: V2XPnP's released ``map_types`` and ``map_data_utils`` (re-implemented from their
description).
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

__all__ = ['Lane', 'Map', 'MapPoint', 'move_polylines', 'nearest_polylines', 'polylines_of']


@dataclass
class MapPoint:
    """A point of a lane in the world frame, metres."""

    x: float
    y: float
    z: float = 0.0


@dataclass
class Lane:
    """One lane.

    Attributes:
        road_id: OpenDRIVE-style id of the road.
        lane_id: signed id within the road, never 0.
        type: 0 unknown, 1 driving, 2 sidewalk, 3 shoulder, 4 parking.
        polyline: centre line, in driving direction.
        entry_lanes: lanes that lead into this one, each ``"<road_id>_<lane_id>"``.
        exit_lanes: lanes that this one leads into, written likewise.
        boundary: the lane's boundary.
    """

    road_id: int
    lane_id: int
    type: int
    polyline: list[MapPoint] = field(default_factory=list)
    entry_lanes: list[str] = field(default_factory=list)
    exit_lanes: list[str] = field(default_factory=list)
    boundary: list[MapPoint] = field(default_factory=list)


@dataclass
class Map:
    """All lanes of a site; ``dynamic_states`` is unused in the released files."""

    map_features: list[Lane] = field(default_factory=list)
    dynamic_states: object = None


BOUNDARY_TYPE = 5
POINTS_PER_POLYLINE = 10
_MIN_POINTS = 5
_DRIVING = 1


def polylines_of(vector_map: Map) -> tuple[np.ndarray, np.ndarray]:
    """Cut every lane, and the boundary of every driving lane, into runs of ten points.

    Lines of five points or fewer and remaining runs of fewer than five are dropped. Points are
    used as stored, without resampling.

    Returns:
        polylines: (L, 10, 7) float64 ``[x, y, z, dx, dy, dz, type]``, world frame; the direction
            is the unit vector from the previous point (the first point has the second one's).
            float32 would be off by decimetres at a UTM northing.
        mask: (L, 10) bool.
    """
    runs = []
    for lane in vector_map.map_features:
        runs += _cut(lane.polyline, lane.type)
        if lane.type == _DRIVING:
            runs += _cut(lane.boundary, BOUNDARY_TYPE)
    polylines = np.zeros((len(runs), POINTS_PER_POLYLINE, 7))
    mask = np.zeros((len(runs), POINTS_PER_POLYLINE), dtype=bool)
    for i, run in enumerate(runs):
        polylines[i, : len(run)] = run
        mask[i, : len(run)] = True
    return polylines, mask


def _cut(points: list[MapPoint], line_type: int) -> list[np.ndarray]:
    """Cut one line into runs of (5 to 10, 7)."""
    if len(points) <= _MIN_POINTS:
        return []
    xyz = np.array([(p.x, p.y, p.z) for p in points], dtype=np.float64)
    steps = np.diff(xyz, axis=0)
    directions = steps / np.linalg.norm(steps, axis=1, keepdims=True).clip(1e-6)
    directions = np.concatenate([directions[:1], directions])
    line = np.column_stack([xyz, directions, np.full(len(xyz), float(line_type))])
    starts = range(0, len(line), POINTS_PER_POLYLINE)
    runs = [line[s : s + POINTS_PER_POLYLINE] for s in starts]
    return [run for run in runs if len(run) >= _MIN_POINTS]


def move_polylines(b_from_a: np.ndarray, polylines: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Move polylines from frame a to frame b.

    Args:
        b_from_a: (4, 4) rigid transform; it may mirror and scale too.
        polylines: (L, 10, 7) ``[x, y, z, dx, dy, dz, type]``, 0 where ``mask`` is false; directions
            keep their length.
        mask: (L, 10) bool.

    Returns:
        (L, 10, 7) float64, 0 where ``mask`` is false.
    """
    linear = b_from_a[:3, :3].T
    columns = np.zeros((8, 7))
    columns[:3, :3] = linear
    columns[3:6, 3:6] = linear / np.abs(np.linalg.det(linear)) ** (1 / 3)
    columns[6, 6] = 1.0
    columns[7, :3] = b_from_a[:3, 3]
    # The mask is the homogeneous coordinate: what is not there is not shifted either.
    points = np.concatenate([polylines, mask[..., None]], axis=-1, dtype=np.float64)
    return (points.reshape(-1, 8) @ columns).reshape(polylines.shape)


def nearest_polylines(
    polylines: np.ndarray,
    mask: np.ndarray,
    centres: np.ndarray,
    headings: np.ndarray,
    count: int = 5,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The polylines nearest to each object, in the object's own frame.

    Source: V2XPnP ``generate_center_map`` (from its description): nearest by the mean of a
    polyline's points.

    Args:
        polylines: (L, 10, 7) as :func:`polylines_of` gives them.
        mask: (L, 10) bool.
        centres: (M, 2) positions of the objects in the polylines' frame, metres.
        headings: (M,) their headings, radians.
        count: polylines per object; missing ones are masked.

    Returns:
        polylines: (M, count, 10, 7) ``[x, y, dx, dy, type, x_previous, y_previous]`` in the frame
            of the object (x ahead).
        mask: (M, count, 10) bool.
        means: (M, count, 2) mean of each polyline's points in the frame of the object.
    """
    num_objects, found = len(centres), min(count, len(polylines))
    out = np.zeros((num_objects, count, POINTS_PER_POLYLINE, 7), dtype=np.float32)
    out_mask = np.zeros((num_objects, count, POINTS_PER_POLYLINE), dtype=bool)
    means = np.zeros((num_objects, count, 2), dtype=np.float32)
    if not found or not num_objects:
        return out, out_mask, means

    middle = (polylines[..., :2] * mask[..., None]).sum(1) / mask.sum(1)[:, None]
    _, nearest = cKDTree(middle).query(centres, k=found)
    nearest = nearest.reshape(num_objects, found)
    chosen, chosen_mask = polylines[nearest], mask[nearest]

    cos, sin = np.cos(headings), np.sin(headings)
    object_from_map = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    xy = np.einsum('mij,mklj->mkli', object_from_map, chosen[..., :2] - centres[:, None, None])
    direction = np.einsum('mij,mklj->mkli', object_from_map, chosen[..., 3:5])
    previous = np.concatenate([xy[:, :, :1], xy[:, :, :-1]], axis=2)
    features = np.concatenate([xy, direction, chosen[..., 6:7], previous], axis=-1)
    out[:, :found] = features * chosen_mask[..., None]
    out_mask[:, :found] = chosen_mask
    means[:, :found] = np.einsum(
        'mij,mkj->mki', object_from_map, middle[nearest] - centres[:, None]
    )
    return out, out_mask, means
