"""Chooses when to record and who carries a LiDAR, and where each LiDAR is at every frame."""

from dataclasses import dataclass

import numpy as np

from ..structures.poses import pose_to_matrix
from .lidar import DENSE_128, EVEN_64, EVEN_128, LidarPattern
from .site_layout import SiteLayout
from .traffic import FRAME_SECONDS, Tracks

__all__ = ['Agent', 'choose_window', 'roadside_agents', 'vehicle_agents']

ROOF_CLEARANCE = 0.55  # metres from a connected vehicle's roof to its LiDAR
POLE_HEIGHTS = (4.08, 2.5)  # metres, LiDARs of the agents -1 and -2
NEAR_JUNCTION = 42.0  # metres
NEAR_CORRIDOR = 160.0  # metres from the middle of a corridor
PAIR_DISTANCE = (14.0, 46.0)  # metres that two connected vehicles should keep
CANDIDATE_STEP = 10  # frames between two windows that are compared
COMPARE_STRIDE = 5  # frames of a window that are looked at
MIN_SPEED = 1.5  # m/s, mean over a window, of a connected vehicle


@dataclass(frozen=True)
class Agent:
    """One LiDAR that records a scenario.

    Attributes:
        id: name of its folder: positive for vehicles, negative for infrastructure.
        pattern: its beams.
        poses: (T, 6) ``[x, y, z, roll, yaw, pitch]``, m and degrees, site frame, at 10 Hz.
        user: index of the road user that carries it; -1 for infrastructure.
    """

    id: int
    pattern: LidarPattern
    poses: np.ndarray
    user: int

    def matrix(self, frame: int) -> np.ndarray:
        """(4, 4) ``site_from_sensor`` at a frame."""
        return pose_to_matrix(self.poses[frame])


def choose_window(
    tracks: Tracks, frames: int, corridor: bool
) -> tuple[int, tuple[str, str]] | None:
    """Pick the window and the two connected vehicles that suit cooperation best.

    Both are cars that are on the site during the whole window and drive, near the site's middle and
    near each other; at junctions preferably on different arms, and where much is going on.

    Args:
        tracks: all traffic.
        frames: length of the window.
        corridor: whether the site is a corridor.

    Returns:
        The first frame and the names of agents 1 and 2, or None if there is no such pair.
    """
    cars = [i for i, user in enumerate(tracks.users) if user.obj_type == 'Car']
    best: tuple[float, int, tuple[str, str]] | None = None
    for start in range(0, tracks.present.shape[1] - frames + 1, CANDIDATE_STEP):
        able = [i for i in cars if tracks.present[i, start : start + frames].all()]
        if len(able) < 2:
            continue
        part = slice(start, start + frames, COMPARE_STRIDE)
        value = _pair_values(tracks.centre[able, part], tracks.centre[:, part], frames, corridor)
        np.fill_diagonal(value, -np.inf)
        first, second = np.unravel_index(int(value.argmax()), value.shape)
        score = float(value[first, second])
        if np.isfinite(score) and (best is None or score > best[0]):
            names = tracks.users[able[first]].name, tracks.users[able[second]].name
            best = score, start, names
    return None if best is None else best[1:]


def _pair_values(path: np.ndarray, everyone: np.ndarray, frames: int, corridor: bool) -> np.ndarray:
    """How well each pair of cars suits a window; -inf where it does not.

    Args:
        path: (C, S, 2) places of the cars at S times of the window, metres.
        everyone: (U, S, 2) places of all road users; NaN where absent.
        frames: length of the window.
        corridor: whether the site is a corridor.

    Returns:
        (C, C) values without a unit, the weights our choice.
    """
    travel = np.linalg.norm(np.diff(path, axis=1), axis=-1).sum(1)
    radius = np.linalg.norm(path, axis=-1)
    near = (radius < (NEAR_CORRIDOR if corridor else NEAR_JUNCTION)).mean(1)
    suits = (travel > MIN_SPEED * frames * FRAME_SECONDS) & (near > 0.6)
    apart = np.linalg.norm(path[:, None] - path[None], axis=-1)
    together = ((apart > PAIR_DISTANCE[0]) & (apart < PAIR_DISTANCE[1])).mean(-1)
    bearing = path.mean(1) / np.maximum(np.linalg.norm(path.mean(1), axis=-1)[:, None], 1e-6)
    across = 0.0 if corridor else 0.4 * (1.0 - bearing @ bearing.T)
    busy = np.array(
        [(np.linalg.norm(everyone - line, axis=-1) < 45.0).sum(0).mean() for line in path]
    )
    value = near[:, None] + near[None] + 1.5 * together + across + 0.02 * busy[:, None]
    value += 0.004 * np.minimum(travel[:, None] + travel[None], 150.0)
    return np.where(suits[:, None] & suits[None] & (together > 0.5), value, -np.inf)


def vehicle_agents(tracks: Tracks, names: tuple[str, str], rng: np.random.Generator) -> list[Agent]:
    """Agents 1 and 2: LiDARs over the roofs of two cars, which sway a little in roll and pitch."""
    agents = []
    by_name = {user.name: i for i, user in enumerate(tracks.users)}
    for number, name in enumerate(names, start=1):
        index = by_name[name]
        length, _, height = tracks.users[index].size
        yaw = tracks.yaw[index]
        back = -0.125 * length  # the middle of the roof
        time = np.arange(len(yaw)) * FRAME_SECONDS
        sway = [
            rng.uniform(-0.9, 0.9)
            + rng.uniform(0.15, 0.4)
            * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * time + rng.uniform(0.0, 2 * np.pi))
            for _ in range(2)
        ]
        poses = np.stack(
            [
                tracks.centre[index, :, 0] + back * np.cos(yaw),
                tracks.centre[index, :, 1] + back * np.sin(yaw),
                np.full(len(yaw), height + ROOF_CLEARANCE),
                sway[0],
                _wrapped_degrees(yaw),
                sway[1],
            ],
            -1,
        )
        agents.append(Agent(number, DENSE_128, poses, index))
    return agents


def roadside_agents(
    layout: SiteLayout, poles: np.ndarray, frames: int, rng: np.random.Generator
) -> list[Agent]:
    """Agents -1 and -2: tilted LiDARs on poles (2, 2) that look at the junction."""
    if layout.kind == 'corridor':
        return []
    agents = []
    for number, (place, height) in enumerate(zip(poles, POLE_HEIGHTS, strict=True), start=1):
        yaw = np.arctan2(-place[1], -place[0]) + rng.uniform(-0.2, 0.2)
        pose = np.array(
            [
                *place,
                height + rng.uniform(-0.05, 0.05),
                rng.uniform(-2.0, 2.0),
                float(_wrapped_degrees(yaw)),
                rng.uniform(-6.0, -3.0),
            ]
        )
        pattern = EVEN_128 if number == 1 else EVEN_64
        agents.append(Agent(-number, pattern, np.tile(pose, (frames, 1)), -1))
    return agents


def _wrapped_degrees(angle: np.ndarray) -> np.ndarray:
    return (np.rad2deg(angle) + 180.0) % 360.0 - 180.0
