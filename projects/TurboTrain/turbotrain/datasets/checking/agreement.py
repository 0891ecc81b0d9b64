"""Whether an agent's labels lie where its points are, and what else the files may mean if not.

A labelled box *fits* where something rises above the ground inside it, and no less of it than close
around it. Both are counted in cells of a raster, so that a wall of many points weighs as much as a
wall of few. Of each object the share of its moments counts in which its box fits, so that a car
that stands still for a minute is one witness. All limits are our choice.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...structures import (
    boxes_from_world,
    invert_rigid,
    matrix_to_pose,
    pose_to_matrix,
    transform_points,
    yaw_of,
)
from ..readers import Annotation

__all__ = [
    'NEAR',
    'BestPose',
    'Boxes',
    'Fit',
    'Sight',
    'best_pose',
    'fit_of',
    'heights_of',
    'other_readings',
]

NEAR = 30.0  # m; further away, sparse LiDARs leave objects without points
_OWN_BODY = 3.0  # m; a box that close is the agent itself, seen by another
_REACH = 48.0  # m, half the side of the raster
_CELL = 0.4  # m
_BLOCK = 2.4  # m; the ground is the lowest of 3 x 3 blocks
_SIDE = round(2 * _REACH / _BLOCK)
_RISES = (0.4, 4.0)  # m above the ground
_LOOSE, _AROUND = 0.2, (0.5, 1.1)  # m outside a box: what still counts as in it, and as around it
_SHIFTS = np.arange(-8.0, 9.0)  # m
_TURNS = np.arange(-180.0, 180.0, 4.0)  # degrees
_FINE_TURNS = (-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0)
_TURNS_AWAY = np.cos(np.deg2rad(10.0))
_MIRROR_Y = np.diag([1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Boxes:
    """The labels near an agent at one moment.

    Attributes:
        ids: (M,) int64 object ids.
        boxes: (M, 7) boxes in the agent's levelled frame.
    """

    ids: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True)
class Fit:
    """How often the boxes of each object fit.

    Attributes:
        ids: (n,) int64 object ids.
        shares: (n,) share of each object's moments in which its box fits.
    """

    ids: np.ndarray
    shares: np.ndarray

    @property
    def share(self) -> float:
        """The mean over the objects, 0 if there is none."""
        return float(self.shares.mean()) if len(self.shares) else 0.0


class BestPose(NamedTuple):
    """What a search for one agent's poses found.

    Attributes:
        correction: (3,) ``[dx, dy, yaw]``, metres and degrees, to add to the poses.
        in_world: whether these metres are along the world's axes, not along the agent's.
        fit: what the corrected poses give.
        chance: the median share of poses that are more than 4 m off, whatever they are.
    """

    correction: np.ndarray
    in_world: bool
    fit: Fit
    chance: float


class Sight:
    """What rises around an agent at one moment, in its levelled frame.

    That frame's origin is the LiDAR, its x axis is the LiDAR's heading, its z axis is the world's.

    Attributes:
        world_from_agent: (4, 4) the LiDAR's pose.
        world_from_level: (4, 4) the levelled frame's pose.
        raised: (240, 240) bool, the cells of 0.4 m that hold a point 0.4 to 4 m above the ground.
        ground: (40, 40) height of the ground in blocks of 2.4 m; infinite where no point is near.
    """

    def __init__(self, world_from_agent: np.ndarray, points: np.ndarray) -> None:
        """Make the raster from (P, 3+) points in the LiDAR's frame, right-handed."""
        self.world_from_agent = world_from_agent
        self.world_from_level = _levelled(world_from_agent)
        level_from_agent = invert_rigid(self.world_from_level) @ world_from_agent
        xyz = transform_points(level_from_agent.astype(np.float32), points[:, :3])
        xyz = xyz[np.abs(xyz[:, :2]).max(axis=1, initial=0.0) < _REACH - 1e-3]
        block = tuple(((xyz[:, :2] + _REACH) / _BLOCK).astype(np.int64).T)
        self.ground = _ground(block, xyz[:, 2])
        height = xyz[:, 2] - self.ground[block]
        high = xyz[(height > _RISES[0]) & (height < _RISES[1])]
        self.raised = np.zeros((round(2 * _REACH / _CELL),) * 2, dtype=bool)
        self.raised[_cells(high[:, :2])] = True

    def labels(self, annotation: Annotation, skip: Iterable[int] = ()) -> Boxes:
        """The labels of an annotation near this agent, ``skip`` left out."""
        return self._near(
            annotation.ids,
            boxes_from_world(
                annotation.centres, annotation.angles, annotation.extents, self.world_from_level
            ),
            skip,
        )

    def _near(self, ids: np.ndarray, boxes: np.ndarray, skip: Iterable[int] = ()) -> Boxes:
        distance = np.hypot(boxes[:, 0], boxes[:, 1])
        kept = (distance < NEAR) & (distance > _OWN_BODY) & ~np.isin(ids, list(skip))
        kept &= boxes[:, 3:5].max(axis=1, initial=0.0) < NEAR
        return Boxes(ids[kept], boxes[kept])


def other_readings(
    sight: Sight, annotation: Annotation, objects_in_agent: bool
) -> dict[str, Boxes]:
    """An annotation's labels near its agent, as other conventions would place them.

    Args:
        sight: of that agent and moment.
        annotation: as it was read.
        objects_in_agent: whether its objects were read as given in the agent's own frame.

    Returns:
        ``clouds``, ``labels`` and ``poses``, with the y of these mirrored, and ``frame``, with
        objects in the world instead of in the agent's frame or the other way round.
    """
    poses = np.concatenate([annotation.centres, annotation.angles], axis=1)
    mirrored = poses * [1, -1, 1, -1, -1, 1]
    there = sight.world_from_agent
    step = invert_rigid(there) if objects_in_agent else there
    swapped = matrix_to_pose(step @ pose_to_matrix(poses))
    level = sight.world_from_level
    other_level = _levelled(_MIRROR_Y @ there @ _MIRROR_Y)
    found = {}
    for name, rows, frame in (
        ('clouds', poses, level),
        ('labels', mirrored, level),
        ('poses', poses, other_level),
        ('frame', swapped, level),
    ):
        boxes = boxes_from_world(rows[:, :3], rows[:, 3:], annotation.extents, frame)
        if name == 'clouds':
            boxes = boxes * [1, -1, 1, 1, 1, 1, -1]
        found[name] = sight._near(annotation.ids, boxes)
    return found


def fit_of(views: list[tuple[Sight, Boxes]]) -> Fit:
    """How well boxes fit, at the poses that the files give."""
    ids, shares = _fits(views, np.zeros((1, 3)))
    return Fit(ids, shares[0])


def best_pose(views: list[tuple[Sight, Boxes]]) -> BestPose:
    """Search for the correction of one agent's poses that makes the boxes fit best.

    Shifts of up to 8 m and all headings are tried, first by themselves, then around the best; of an
    agent that turns, shifts both in the world (a wrong position) and along its axes (a wrong
    mounting).
    """
    x_axes = np.array([sight.world_from_level[:2, 0] for sight, _ in views])
    turns = len(x_axes) > 0 and (x_axes @ x_axes[0]).min() < _TURNS_AWAY
    found = [_search(views, in_world) for in_world in ((True, False) if turns else (True,))]
    return max(found, key=lambda item: item.fit.share)


def _search(views: list[tuple[Sight, Boxes]], in_world: bool) -> BestPose:
    x, y = np.meshgrid(_SHIFTS, _SHIFTS, indexing='ij')
    shifts = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    turns = np.column_stack([np.zeros((len(_TURNS), 2)), _TURNS])
    coarse = np.concatenate([shifts, turns])
    shares = _fits(views, coarse, in_world)[1]
    best = coarse[_best(shares, coarse)]
    size = np.linalg.norm(shifts, axis=1)
    fine = np.concatenate([best + shifts[size < 3] + [0, 0, turn] for turn in _FINE_TURNS])
    ids, fine_shares = _fits(views, fine, in_world)
    chosen = _best(fine_shares, fine)
    chance = float(np.median(shares[: len(shifts)][size > 4].mean(axis=1)))
    return BestPose(fine[chosen], in_world, Fit(ids, fine_shares[chosen]), chance)


def heights_of(views: list[tuple[Sight, Boxes]]) -> tuple[np.ndarray, np.ndarray]:
    """How far above the ground each object's boxes begin, where the ground is seen.

    Returns:
        ids: (n,) int64.
        heights: (n, 2) metres, medians over its moments: above the ground of the cloud, and above
            where the boxes around the agent usually begin.
    """
    ids, heights = [np.zeros(0, dtype=np.int64)], [np.zeros((0, 2))]
    for sight, labels in views:
        bottom = labels.boxes[:, 2]
        block = tuple(((labels.boxes[:, :2] + _REACH) / _BLOCK).astype(np.int64).T)
        height = bottom - sight.ground[block]
        seen = np.isfinite(height)
        if seen.any():
            ids.append(labels.ids[seen])
            heights.append(np.column_stack([height, bottom - np.median(bottom)])[seen])
    every, values = np.concatenate(ids), np.concatenate(heights)
    found = np.unique(every)
    medians = [np.median(values[every == key], axis=0) for key in found]
    return found, np.reshape(medians, (-1, 2))


def _levelled(world_from_agent: np.ndarray) -> np.ndarray:
    x, y, z = world_from_agent[:3, 3]
    return pose_to_matrix([x, y, z, 0.0, np.rad2deg(yaw_of(world_from_agent)), 0.0])


def _ground(block: tuple[np.ndarray, ...], z: np.ndarray) -> np.ndarray:
    """The lowest height in each 3 x 3 blocks, a twentieth of a block's points below it aside."""
    key = block[0] * _SIDE + block[1]
    order = np.lexsort((z, key))
    keys, begin, count = np.unique(key[order], return_index=True, return_counts=True)
    low = np.full(_SIDE * _SIDE, np.inf)
    low[keys] = z[order[begin + count // 20]]
    padded = np.pad(low.reshape(_SIDE, _SIDE), 1, constant_values=np.inf)
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).min(axis=(2, 3))


def _cells(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The raster's cells at (..., 2) places; those outside it count as its border."""
    cells = ((xy + _REACH) / _CELL).astype(np.int32).clip(0, round(2 * _REACH / _CELL) - 1)
    return cells[..., 0], cells[..., 1]


def _samples(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places in and around (M, 7) boxes, a cell apart.

    Returns:
        places: (S, 2); those in the first box, then those around it, then those in the second, ...
        begin: (2M,) where each of these begins.
    """
    places, begin, total = [np.zeros((0, 2))], [], 0
    for x, y, _, length, width, _, yaw in boxes:
        half = np.array([length, width]) / 2
        steps = [np.arange(-n, n + 1) * _CELL for n in np.ceil((half + _AROUND[1]) / _CELL)]
        local = np.stack(np.meshgrid(*steps, indexing='ij'), axis=-1).reshape(-1, 2)
        outside = (np.abs(local) - half).max(axis=1)
        turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
        there = local @ turn + [x, y]
        around = (outside > _AROUND[0]) & (outside <= _AROUND[1])
        for part in (there[outside <= _LOOSE], there[around]):
            places.append(part)
            begin.append(total)
            total += len(part)
    return np.concatenate(places), np.array(begin, dtype=np.int64)


def _fits(
    views: list[tuple[Sight, Boxes]], corrections: np.ndarray, in_world: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Each object's share of fitting boxes, under each of (K, 3) corrections: (n,) ids, (K, n)."""
    ids = np.unique(np.concatenate([np.zeros(0, np.int64), *(labels.ids for _, labels in views)]))
    fitting = np.zeros((len(corrections), len(ids)))
    moments = np.zeros(len(ids))
    yaw = np.deg2rad(corrections[:, 2])
    # The pose goes one way, so that the labels go the other way in its frame.
    back = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]).transpose(2, 0, 1)
    for sight, labels in views:
        if not len(labels.ids):
            continue
        shift = corrections[:, :2]
        if in_world:
            shift = shift @ sight.world_from_level[:2, :2]
        places, begin = _samples(labels.boxes)
        hits = sight.raised[_cells((places - shift[:, None]) @ back)]
        counts = np.add.reduceat(hits, begin, axis=1, dtype=np.int32)
        inside, around = counts[:, ::2], counts[:, 1::2]
        which = np.searchsorted(ids, labels.ids)  # each object has one label at a moment
        fitting[:, which] += (inside > 0) & (inside >= around)
        moments[which] += 1
    return ids, fitting / moments.clip(min=1)


def _best(shares: np.ndarray, corrections: np.ndarray) -> int:
    """The best correction; of equal ones the smallest."""
    size = np.linalg.norm(corrections[:, :2], axis=1) + np.abs(corrections[:, 2]) / 4
    return int(np.lexsort((size, -shares.mean(axis=1)))[0])
