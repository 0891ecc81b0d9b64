"""Simulates one scenario: a site, its traffic, its agents, and their clouds and labels on disk."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import SettingError
from ..structures.vector_map import Lane
from .agents import Agent, choose_window, roadside_agents, vehicle_agents
from .cameras import CAMERAS, IMAGE_SUFFIX, Roads, paint_of, render, write_image
from .lidar import Scene, scan
from .meshes import Mesh, user_mesh
from .overlaps import without_overlaps
from .road_network import (
    NetworkLane,
    build_network,
    read_junction_outline,
    read_network,
    to_map_lanes,
)
from .site_layout import SiteKind, SiteLayout, sample_layout
from .surroundings import park_vehicles, place_buildings, place_poles, static_mesh
from .traffic import FRAME_SECONDS, Tracks, simulate_traffic
from .writer import write_annotation, write_cloud

__all__ = ['ScenarioPlan', 'ScenarioRecord', 'SensorOptions', 'simulate_scenario']

SPARE_SECONDS = 40.0  # of traffic, beyond the scenario's length, to choose a window from
ATTEMPTS = 8  # sites that are tried until one has two suitable connected vehicles
FIRST_OBJECT_ID = 10
ROADS_PER_SITE = 1000


@dataclass(frozen=True)
class SensorOptions:
    """How scenarios are recorded.

    Attributes:
        duration: seconds.
        frame_stride: 10 Hz frames between two recorded clouds.
        beam_step: use every n-th beam of a LiDAR.
        azimuth_step: use every n-th firing (0.2 degrees) of a LiDAR.
        min_points: points of an agent's own cloud that an object needs to be in its labels.
        cameras: whether agents have cameras that take pictures.
    """

    duration: float = 20.0
    frame_stride: int = 5
    beam_step: int = 2
    azimuth_step: int = 8
    min_points: int = 1
    cameras: bool = False

    def __post_init__(self) -> None:
        for name in ('frame_stride', 'beam_step', 'azimuth_step', 'min_points'):
            if getattr(self, name) < 1:
                raise SettingError(f'{name} must be at least 1, got {getattr(self, name)}')
        if self.frames <= self.frame_stride:
            raise SettingError(
                f'duration {self.duration} s holds no two clouds {self.frame_stride} frames apart'
            )

    @property
    def frames(self) -> int:
        """Number of 10 Hz frames of a scenario."""
        return int(round(self.duration / FRAME_SECONDS))


@dataclass(frozen=True)
class ScenarioPlan:
    """What makes one scenario.

    Attributes:
        name: of its folder.
        split: 'train', 'val' or 'test'.
        kind: of its site.
        index: number within the whole set; with ``seed`` it fixes all that is random.
        seed: of the whole set.
        offset: the site's origin in the world frame, metres.
    """

    name: str
    split: str
    kind: SiteKind
    index: int
    seed: int
    offset: tuple[float, float]


@dataclass(frozen=True)
class ScenarioRecord:
    """What the whole set needs to know of a finished scenario.

    Attributes:
        plan: its plan.
        lanes: its site's lanes, world frame.
        trajectories: by object id (T, 4) ``[timestep, x, y, z]`` and mask (T,), world frame.
        hits: (F, A, U) points that agent a's cloud of recorded frame f has on object u; -1 for the
            object that carries the agent.
        places: (F, U, 2) object centres, site frame; NaN where absent.
        agent_poses: (F, A, 6), site frame. Agents come in the order 1, 2, -1, -2.
        points: number of points of all clouds.
    """

    plan: ScenarioPlan
    lanes: list[Lane]
    trajectories: dict[int, tuple[np.ndarray, np.ndarray]]
    hits: np.ndarray
    places: np.ndarray
    agent_poses: np.ndarray
    points: int


@dataclass(frozen=True)
class _Stage:
    """A site with everything in place, ready to be recorded; all in the site frame."""

    layout: SiteLayout
    lanes: list[NetworkLane]
    tracks: Tracks
    agents: list[Agent]
    static: Mesh


def simulate_scenario(plan: ScenarioPlan, options: SensorOptions, root: Path) -> ScenarioRecord:
    """Simulate a scenario and write its agents' folders below ``root/<split>/<name>``.

    Raises:
        SettingError: if no site with two suitable connected vehicles is found.
    """
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([plan.seed, plan.index, attempt])
        stage = _build_stage(plan, options, rng)
        if stage is not None:
            return _record(plan, options, stage, root / plan.split / plan.name)
    raise SettingError(
        f'{plan.name}: no two cars that drive near each other for {options.duration:g} s in '
        f'{ATTEMPTS} sites; take a shorter duration or another seed'
    )


def _build_stage(
    plan: ScenarioPlan, options: SensorOptions, rng: np.random.Generator
) -> _Stage | None:
    layout = sample_layout(plan.kind, rng)
    with tempfile.TemporaryDirectory() as folder:
        network = build_network(layout, Path(folder))
        lanes, outline = read_network(network), read_junction_outline(network)
        seconds = options.duration + SPARE_SECONDS
        traffic = without_overlaps(simulate_traffic(layout, network, seconds, rng))
    chosen = choose_window(traffic, options.frames, plan.kind == 'corridor')
    if chosen is None:
        return None
    start, names = chosen
    poles = place_poles(layout) if plan.kind != 'corridor' else np.zeros((0, 2))
    moving = traffic.window(start, options.frames)
    tracks = moving.joined(park_vehicles(layout, options.frames, rng))
    roadside = roadside_agents(layout, poles, options.frames, rng)
    agents = [*vehicle_agents(tracks, names, rng), *roadside]
    buildings = place_buildings(layout, lanes, np.concatenate([outline, poles]), rng)
    tops = [(*agent.poses[0, :2].tolist(), agent.poses[0, 2] - 0.12) for agent in roadside]
    return _Stage(layout, lanes, tracks, agents, static_mesh(layout, buildings, tops, rng))


def _record(
    plan: ScenarioPlan, options: SensorOptions, stage: _Stage, folder: Path
) -> ScenarioRecord:
    tracks, agents = stage.tracks, stage.agents
    ids = np.arange(len(tracks.users)) + FIRST_OBJECT_ID
    meshes = [user_mesh(user) for user in tracks.users]
    paints = np.array([paint_of(int(key)) for key in ids])
    recorded = range(0, options.frames, options.frame_stride)
    hits = np.zeros((len(recorded), len(agents), len(meshes)), dtype=np.int64)
    points = 0
    roads = Roads(stage.lanes)
    for agent in agents:
        (folder / str(agent.id)).mkdir(parents=True)
    for row, frame in enumerate(recorded):
        here = np.flatnonzero(tracks.present[:, frame])
        scene = Scene(
            stage.static,
            [meshes[i].placed(*tracks.centre[i, frame], tracks.yaw[i, frame]) for i in here],
        )
        for column, agent in enumerate(agents):
            rng = np.random.default_rng([plan.seed, plan.index, ATTEMPTS + column, frame])
            directions = agent.pattern.directions(
                options.beam_step, options.azimuth_step, rng.random()
            )
            cloud = scan(scene, agent.matrix(frame), directions, rng)
            owned = cloud.owner[cloud.owner >= 0]
            hits[row, column, here] = np.bincount(owned, minlength=len(here))
            if agent.user >= 0:
                hits[row, column, agent.user] = -1
            listed = np.flatnonzero(hits[row, column] >= options.min_points)
            stem = folder / str(agent.id) / f'{frame:06d}'
            write_cloud(stem.with_suffix('.bin'), cloud.points)
            pose = agent.poses[frame] + np.array([*plan.offset, 0.0, 0.0, 0.0, 0.0])
            labels = {int(ids[i]): _label(tracks, i, frame, plan.offset) for i in listed}
            cameras = CAMERAS[agent.id < 0] if options.cameras else ()
            write_annotation(stem.with_suffix('.yaml'), pose, agent.id < 0, labels, cameras)
            for camera in cameras:
                site_from_camera = agent.matrix(frame) @ camera.lidar_from_camera
                picture = render(scene, site_from_camera, camera, paints[here], roads)
                path = stem.with_name(f'{stem.name}_{camera.name}{IMAGE_SUFFIX}')
                write_image(path, picture)
            points += len(cloud.points)
    ever = np.flatnonzero((hits >= options.min_points).any((0, 1)))
    return ScenarioRecord(
        plan=plan,
        lanes=to_map_lanes(stage.lanes, (plan.index + 1) * ROADS_PER_SITE, plan.offset),
        trajectories={int(ids[i]): _trajectory(tracks, i, plan.offset) for i in ever},
        hits=hits,
        places=tracks.centre[:, list(recorded)].swapaxes(0, 1),
        agent_poses=np.stack([agent.poses[list(recorded)] for agent in agents], 1),
        points=points,
    )


def _label(
    tracks: Tracks, index: int, frame: int, offset: tuple[float, float]
) -> dict[str, object]:
    user = tracks.users[index]
    x, y = tracks.centre[index, frame] + offset
    yaw = (np.rad2deg(tracks.yaw[index, frame]) + 180.0) % 360.0 - 180.0
    return {
        'obj_type': user.obj_type,
        'location': (x, y, user.size[2] / 2),
        'angle': (0.0, yaw, 0.0),
        'extent': tuple(size / 2 for size in user.size),
    }


def _trajectory(
    tracks: Tracks, index: int, offset: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    mask = tracks.present[index]
    line = np.zeros((len(mask), 4))
    line[:, 0] = np.arange(len(mask))
    line[mask, 1:3] = np.round(tracks.centre[index, mask] + offset, 4)
    line[mask, 3] = tracks.users[index].size[2] / 2
    return line, mask
