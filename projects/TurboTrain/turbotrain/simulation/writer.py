"""Writes frames, vector maps and trajectories as files of the V2XPnP-Seq format."""

import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..structures import vector_map
from ..structures.poses import matrix_to_pose, pose_to_matrix
from .cameras import Camera

__all__ = [
    'write_annotation',
    'write_cloud',
    'write_trajectories',
    'write_vector_map',
]

MAP_MODULE = 'opencood.data_utils.datasets.map.map_types'
PICKLE_PROTOCOL = 4
IMAGE_SIZE = (1920, 1080)
FOCAL_LENGTH = 1000.0  # pixels
CAMERA_YAWS = {False: (0.0, -90.0, 90.0, 180.0), True: (30.0, -30.0)}  # by "is infrastructure"


def write_cloud(path: Path, points: np.ndarray) -> None:
    """Write points (N, 4) as little-endian float32 ``.bin``."""
    path.write_bytes(np.ascontiguousarray(points, dtype='<f4').tobytes())


def write_annotation(
    path: Path,
    pose: np.ndarray,
    infra: bool,
    objects: Mapping[int, Mapping[str, Any]],
    cameras: Sequence[Camera] = (),
) -> None:
    """Write one agent's YAML of one frame.

    The text is composed here because that is ten times as fast as PyYAML's emitter, and numbers
    in plain decimals are read alike by every YAML version.

    Args:
        path: file to write.
        pose: (6,) LiDAR pose in the world, ``[x, y, z, roll, yaw, pitch]``, m and degrees.
        infra: whether the agent is infrastructure.
        objects: by object id: ``obj_type``, ``location`` (3,) m, ``angle`` (3,) degrees
            ``[roll, yaw, pitch]`` and ``extent`` (3,) half sizes in m, all in the world frame.
        cameras: those that have taken pictures; without any, the format's usual ones are written.
    """
    lines: list[str] = []
    for camera in cameras:
        cords = matrix_to_pose(camera.world_from_body(pose_to_matrix(pose)))
        lines += _camera_lines(camera.name, cords, camera.lidar_from_camera, camera.intrinsics)
    for number, yaw in enumerate(() if cameras else CAMERA_YAWS[infra], start=1):
        lines += _usual_camera(f'cam{number}', pose, yaw)
    lines += ['ego_speed: 0', f'infra: {str(infra).lower()}']
    for key in ('lidar_pose', 'true_ego_pose'):
        lines += [f'{key}:', *_items(pose, '')]
    lines.append('vehicles:' if objects else 'vehicles: {}')
    for key, item in sorted(objects.items()):
        lines += [f'  {int(key)}:', '    angle:', *_items(item['angle'], '    ')]
        lines += ["    attribute: ''", '    center:', *_items((0.0, 0.0, 0.0), '    ')]
        lines += ['    extent:', *_items(item['extent'], '    ')]
        lines += ['    location:', *_items(item['location'], '    ')]
        lines.append(f'    obj_type: {item["obj_type"]}')
    path.write_text('\n'.join(lines) + '\n')


def _items(values: Sequence[float] | np.ndarray, indent: str) -> list[str]:
    """A block list of numbers with five decimals (minus zero becomes zero)."""
    return [f'{indent}- {round(float(value), 5) + 0.0:.5f}' for value in values]


def _usual_camera(name: str, pose: np.ndarray, yaw: float) -> list[str]:
    """A camera 0.3 m below the LiDAR, level with it, turned by ``yaw`` degrees."""
    cos, sin = np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))
    width, height = IMAGE_SIZE
    cords = np.array(pose, dtype=np.float64)
    cords[2] -= 0.3
    cords[4] = (cords[4] + yaw + 180.0) % 360.0 - 180.0
    extrinsic = (
        (sin, 0.0, cos, 0.0),
        (-cos, 0.0, sin, 0.0),
        (0.0, -1.0, 0.0, -0.3),
        (0.0, 0.0, 0.0, 1.0),
    )
    intrinsic = (
        (FOCAL_LENGTH, 0.0, width / 2),
        (0.0, FOCAL_LENGTH, height / 2),
        (0.0, 0.0, 1.0),
    )
    return _camera_lines(name, cords, extrinsic, intrinsic)


def _camera_lines(
    name: str,
    cords: np.ndarray,
    extrinsic: Sequence[Sequence[float]] | np.ndarray,
    intrinsic: Sequence[Sequence[float]] | np.ndarray,
) -> list[str]:
    """A camera's entry; ``extrinsic`` maps camera (z forward, x right, y down) to LiDAR."""
    lines = [f'{name}:', '  cords:', *_items(cords, '  ')]
    for key, rows in (('extrinsic', extrinsic), ('intrinsic', intrinsic)):
        lines.append(f'  {key}:')
        for row in rows:
            first, *rest = _items(row, '    ')
            lines += [f'  - {first.strip()}', *rest]
    return lines


def write_trajectories(
    path: Path, scenarios: Sequence[Mapping[int, tuple[np.ndarray, np.ndarray]]]
) -> None:
    """Write ``trajectory_database_<split>.pkl``.

    Args:
        path: file to write.
        scenarios: for every scenario of the split, in the order of their sorted names, by object
            id: trajectory (T, 4) ``[timestep, x, y, z]`` of the box centre at 10 Hz (world frame,
            m), and its mask (T,) bool.
    """
    content = {
        index: OrderedDict(
            (
                key,
                {
                    'trajectory': np.array(line, dtype=np.float64),
                    'trajectory_mask': np.array(mask, dtype=bool),
                },
            )
            for key, (line, mask) in sorted(tracks.items())
        )
        for index, tracks in enumerate(scenarios)
    }
    path.write_bytes(pickle.dumps(content, protocol=PICKLE_PROTOCOL))


def write_vector_map(path: Path, lanes: Sequence[vector_map.Lane]) -> None:
    """Write a vector map whose only globals are the released files' Map, Lane and MapPoint."""
    with _map_types() as released:
        content = released.Map(
            map_features=[
                released.Lane(
                    road_id=lane.road_id,
                    lane_id=lane.lane_id,
                    type=lane.type,
                    polyline=[released.MapPoint(p.x, p.y, p.z) for p in lane.polyline],
                    entry_lanes=list(lane.entry_lanes),
                    exit_lanes=list(lane.exit_lanes),
                    boundary=[released.MapPoint(p.x, p.y, p.z) for p in lane.boundary],
                )
                for lane in lanes
            ]
        )
        path.write_bytes(pickle.dumps(content, protocol=PICKLE_PROTOCOL))


@contextmanager
def _map_types() -> Iterator[types.ModuleType]:
    """Our map classes under the released module's dotted name, for as long as a pickle needs it.

    pickle stores a class by module and name and checks that it can import it, so every parent
    package has to exist too. ``sys.modules`` is left as it was.
    """
    parts = MAP_MODULE.split('.')
    names = ['.'.join(parts[: count + 1]) for count in range(len(parts))]
    before = {name: sys.modules.get(name) for name in names}
    module = types.ModuleType(MAP_MODULE)
    for cls in (vector_map.MapPoint, vector_map.Lane, vector_map.Map):
        twin = type(cls.__name__, (cls,), {'__module__': MAP_MODULE})
        setattr(module, cls.__name__, twin)
    try:
        for name in names[:-1]:
            sys.modules[name] = types.ModuleType(name)
        sys.modules[MAP_MODULE] = module
        yield module
    finally:
        for name, previous in before.items():
            if previous is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = previous
