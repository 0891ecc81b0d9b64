"""What stands round the roads: buildings, walls, trees, sensor poles and parked vehicles."""

from dataclasses import dataclass, replace

import numpy as np

from .meshes import Mesh, box, ellipsoid, merge, upright_cylinder
from .road_network import NetworkLane, resample_polyline
from .road_users import PARKED, RoadUser, sample_user
from .site_layout import PARKING_WIDTH, Arm, SiteLayout
from .traffic import Tracks

__all__ = ['Footprint', 'park_vehicles', 'place_buildings', 'place_poles', 'static_mesh']

PARKING_START = 23.0  # metres from the junction's centre; closer by lie the crossings
PARKING_SHARE = 0.3  # of the room along the kerb
GROUND_HALF_SIZE = 400.0
BARK, LEAVES = 0.3, 0.35  # reflectivities
POLE_RADIUS = 0.08
POLE_SETBACK = 0.8  # metres from the kerb to a sensor pole


@dataclass(frozen=True)
class Footprint:
    """An upright block on the ground: centre (m), size along and across (m), yaw (rad), height."""

    x: float
    y: float
    length: float
    width: float
    yaw: float
    height: float

    def grid(self, step: float) -> np.ndarray:
        """Points (P, 2) that cover the footprint, its edges included, at most ``step`` m apart."""
        along = np.linspace(-0.5, 0.5, int(np.ceil(self.length / step)) + 1) * self.length
        across = np.linspace(-0.5, 0.5, int(np.ceil(self.width / step)) + 1) * self.width
        local = np.stack(np.meshgrid(along, across, indexing='ij'), -1).reshape(-1, 2)
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return local @ np.array([[cos, sin], [-sin, cos]]) + (self.x, self.y)

    def contains(self, points: np.ndarray, margin: float) -> np.ndarray:
        """Which points (P, 2) lie inside or within ``margin`` m of the sides, (P,) bool."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        local = np.abs((points - (self.x, self.y)) @ np.array([[cos, -sin], [sin, cos]]))
        half = np.array([self.length, self.width]) / 2 + margin
        return (local <= half).all(1)


def place_poles(layout: SiteLayout) -> np.ndarray:
    """Two places (2, 2) for roadside sensors: the pair of street corners farthest apart.

    Each stands between two neighbouring arms, on the sidewalk, ``POLE_SETBACK`` behind the kerbs.
    """
    corners = []
    radii = np.arange(4.0, 60.0, 0.25)[:, None]
    for arm, after in zip(layout.arms, (*layout.arms[1:], layout.arms[0]), strict=True):
        bisector = arm.heading + (after.heading - arm.heading) % (2 * np.pi) / 2
        places = radii * (np.cos(bisector), np.sin(bisector))
        free = np.ones(len(places), dtype=bool)
        for road, side in ((arm, 1), (after, -1)):
            left = places @ (-np.sin(road.heading), np.cos(road.heading))
            free &= side * left >= road.kerb(side) + POLE_SETBACK
        corners.append(places[free.argmax()])
    table = np.array(corners)
    apart = np.linalg.norm(table[:, None] - table[None], axis=-1)
    return table[list(np.unravel_index(int(apart.argmax()), apart.shape))]


def place_buildings(
    layout: SiteLayout, lanes: list[NetworkLane], keep_clear: np.ndarray, rng: np.random.Generator
) -> list[Footprint]:
    """Rows of buildings along both sides of every arm, as close to the corners as they fit.

    Args:
        layout: the site.
        lanes: its lanes, sidewalks and crossings; no building stands on them.
        keep_clear: (P, 2) further places to stay 1.5 m away from.
        rng: source of sizes and gaps.
    """
    ways = np.concatenate([lane.centre for lane in _dense(lanes)] + [keep_clear])
    reach = np.concatenate(
        [np.full(len(lane.centre), lane.width / 2 + 0.8) for lane in _dense(lanes)]
        + [np.full(len(keep_clear), 1.5)]
    )
    buildings: list[Footprint] = []
    sides = [(arm, side) for arm in layout.arms for side in (1, -1)]
    for index in rng.permutation(len(sides)):
        arm, side = sides[index]
        along = 8.0
        while along < min(arm.length, 125.0):
            length, depth = rng.uniform(11.0, 26.0), rng.uniform(9.0, 18.0)
            setback, height = rng.uniform(0.8, 2.6), rng.uniform(4.0, 14.0)
            block = _beside(arm, side, along + length / 2, setback, length, depth, height)
            if _is_free(block, ways, reach, buildings):
                buildings.append(block)
                along += length + rng.choice([0.8, rng.uniform(4.0, 10.0)])
            else:
                along += 2.0
    return buildings


def _dense(lanes: list[NetworkLane]) -> list[NetworkLane]:

    return [replace(lane, centre=resample_polyline(lane.centre, 1.5)) for lane in lanes]


def _beside(
    arm: Arm, side: int, along: float, setback: float, length: float, depth: float, height: float
) -> Footprint:
    left = side * (arm.half_width(side) + setback + depth / 2)
    x, y = arm.point(np.array(along), np.array(left)).tolist()
    return Footprint(x, y, length, depth, float(arm.heading_at(np.array(along))), height)


def _is_free(
    block: Footprint, ways: np.ndarray, reach: np.ndarray, others: list[Footprint]
) -> bool:
    grid = block.grid(1.5)
    near = np.linalg.norm(ways - (block.x, block.y), axis=1) < 40.0
    distance = np.linalg.norm(ways[near, None] - grid[None], axis=-1).min(1)
    if (distance < reach[near]).any():
        return False
    return not any(
        other.contains(grid, 0.4).any() or block.contains(other.grid(1.5), 0.4).any()
        for other in others
    )


def park_vehicles(layout: SiteLayout, frames: int, rng: np.random.Generator) -> Tracks:
    """Vehicles in the parking lanes, as tracks that stand still for all frames."""
    users: list[RoadUser] = []
    states: list[tuple[float, float, float]] = []
    for k, arm in enumerate(layout.arms):
        for side in (1, -1):
            along = PARKING_START + rng.uniform(0.0, 5.0)
            while along < min(arm.length - 10.0, 85.0):
                user, _ = sample_user(PARKED, f'parked{k}_{side}_{len(users)}', rng)
                length = user.size[0]
                if rng.random() < PARKING_SHARE:
                    middle = np.array(along + length / 2)
                    shift = rng.uniform(-0.08, 0.08)
                    left = side * (arm.kerb(side) - PARKING_WIDTH / 2 + shift)
                    heading = float(arm.heading_at(middle)) + (np.pi if side > 0 else 0.0)
                    states.append(
                        (
                            *arm.point(middle, np.array(left)).tolist(),
                            heading + rng.uniform(-0.02, 0.02),
                        )
                    )
                    users.append(user)
                along += length + rng.uniform(0.7, 1.8)
    table = np.repeat(np.array(states).reshape(-1, 1, 3), frames, axis=1)
    return Tracks(users, table[..., :2], table[..., 2], np.ones(table.shape[:2], dtype=bool))


def static_mesh(
    layout: SiteLayout,
    buildings: list[Footprint],
    poles: list[tuple[float, float, float]],
    rng: np.random.Generator,
) -> Mesh:
    """Mesh of ground, buildings, walls, trees and poles in the site frame.

    Args:
        layout: the site.
        buildings: their footprints.
        poles: x, y and top (m) of each sensor pole.
        rng: source of walls and trees.
    """
    size = GROUND_HALF_SIZE
    parts = [box((-size, -size, -1.0), (size, size, 0.0), 0.25)]
    parts += [_block(building, float(rng.uniform(0.3, 0.6))) for building in buildings]
    parts += [upright_cylinder(x, y, POLE_RADIUS, 0.0, top, 0.5) for x, y, top in poles]
    for arm in layout.arms:
        for side in (1, -1):
            for along in np.arange(24.0, min(arm.length, 110.0), 14.0):
                left = side * (arm.half_width(side) + 0.35)
                draw = rng.random()
                middle = np.array(along + rng.uniform(-2.0, 2.0))
                if draw < 0.4:
                    parts += _tree(*arm.point(middle, np.array(left)).tolist(), rng)
                elif draw < 0.6:
                    x, y = arm.point(middle, np.array(left)).tolist()
                    parts.append(
                        _block(
                            Footprint(
                                x,
                                y,
                                rng.uniform(5.0, 11.0),
                                0.25,
                                float(arm.heading_at(middle)),
                                rng.uniform(0.9, 2.2),
                            ),
                            0.4,
                        )
                    )
    return merge(parts)


def _block(footprint: Footprint, reflectivity: float) -> Mesh:
    half = footprint.length / 2, footprint.width / 2
    mesh = box((-half[0], -half[1], 0.0), (*half, footprint.height), reflectivity)
    return mesh.placed(footprint.x, footprint.y, footprint.yaw)


def _tree(x: float, y: float, rng: np.random.Generator) -> list[Mesh]:
    top, radius = rng.uniform(3.6, 4.6), rng.uniform(1.0, 1.8)
    return [
        upright_cylinder(x, y, rng.uniform(0.1, 0.2), 0.0, top, BARK),
        ellipsoid((x, y, top + 0.5 * radius), (radius, radius, 0.8 * radius), LEAVES),
    ]
