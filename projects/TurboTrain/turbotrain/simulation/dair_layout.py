"""Rewrites a set in V2XPnP-Seq's format as DAIR-V2X-C or V2X-Seq has it.

Vehicle 1 and roadside unit -1 of each scenario stay; scenarios that have not both are left out.
Cooperative labels are the union of the two agents', the vehicle's first, without the vehicle
itself. Both sides number their frames anew, from different numbers. Every correction is other than
0, and the files of the roadside unit are off by just as much, so that a reader that corrects as the
set does finds all in its place. Of pictures, each side's first camera's are kept.

Nothing here is shared with the readers, which are tested on these files.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from ..errors import SettingError
from ..structures.boxes import corners_of
from ..structures.poses import invert_rigid, matrix_to_pose, pose_to_matrix
from .cameras import IMAGE_SUFFIX

__all__ = ['DAIR_LAYOUTS', 'rewrite_as_dair']

DAIR_LAYOUTS = ('dair_v2x_c', 'v2x_seq')
_SPLIT_FILES = dict(
    dair_v2x_c='cooperative-split-data.json', v2x_seq='cooperative-split-data-spd.json'
)
_SPLITS = ('train', 'val', 'test')
_AGENTS = dict(vehicle=1, infrastructure=-1)
_SENSORS = dict(vehicle='lidar', infrastructure='virtuallidar')
_FIRST = dict(vehicle=200, infrastructure=7000)  # numbers of frames
_BETWEEN = 1000  # numbers from one scenario's first frame to the next one's
_BEGIN = 1_626_000_000_000_000  # microseconds
_STEP = 100_000  # microseconds from one frame number to the next
_MOUNTING = (0.4, -0.1, -1.7, 0.5, 91.0, -0.8)  # of the vehicle's LiDAR on its inertial unit
_OWN_BODY = 2.0  # m


@dataclass
class _Lists:
    """What the lists of the whole set will hold."""

    frames: dict[str, list[dict]] = field(default_factory=lambda: {name: [] for name in _AGENTS})
    pairs: list[dict] = field(default_factory=list)
    splits: dict[str, dict[str, list[str]]] = field(default_factory=dict)


def rewrite_as_dair(source: Path, out: Path, layout: str) -> None:
    """Write a set anew.

    Args:
        source: root of a set in V2XPnP-Seq's format, with ``.bin`` clouds.
        out: root of the new set.
        layout: a name of ``DAIR_LAYOUTS``.

    Raises:
        SettingError: the layout is unknown, or no scenario has both agents.
    """
    if layout not in DAIR_LAYOUTS:
        raise SettingError(f'layout must be one of {DAIR_LAYOUTS}, got {layout!r}')
    lists = _Lists()
    for kind in ('batch', *_AGENTS, 'cooperative'):
        lists.splits[f'{kind}_split'] = {name: [] for name in (*_SPLITS, 'test_A')}
    number = 0
    for split in _SPLITS:
        for scenario in sorted((source / split).glob('*/')):
            if all((scenario / str(agent)).is_dir() for agent in _AGENTS.values()):
                _write_scenario(scenario, out, layout, split, number, lists)
                number += 1
    if not number:
        raise SettingError(f'{source}: no scenario has vehicle 1 and roadside unit -1')
    for side, entries in lists.frames.items():
        _write(out / f'{side}-side/data_info.json', entries)
    _write(out / 'cooperative/data_info.json', lists.pairs)
    _write(out / _SPLIT_FILES[layout], lists.splits)


def _write_scenario(
    scenario: Path, out: Path, layout: str, split: str, number: int, lists: _Lists
) -> None:
    stems = [
        {path.stem for path in (scenario / str(agent)).glob('*.yaml')} for agent in _AGENTS.values()
    ]
    common = sorted(set.intersection(*stems))
    if common and int(common[-1]) >= _BETWEEN:
        raise SettingError(
            f'{scenario}: frame {common[-1]}; {layout} numbers the frames of a scenario below '
            f'{_BETWEEN}, so that it has {_BETWEEN // 10} s at most'
        )
    group = f'{number + 1:04d}' if layout == 'v2x_seq' else str(number + 1)
    ends = {}
    for side, first in _FIRST.items():
        numbers = [first + number * _BETWEEN + int(stem) for stem in common]
        ends[side] = f'{numbers[0]:06d}', f'{numbers[-1]:06d}'
    lists.splits['batch_split'][split].append(group)
    for place, stem in enumerate(common):
        names = {
            side: f'{first + number * _BETWEEN + int(stem):06d}' for side, first in _FIRST.items()
        }
        content = {
            side: _load(scenario / f'{agent}/{stem}.yaml') for side, agent in _AGENTS.items()
        }
        time = _BEGIN + (number * _BETWEEN + int(stem)) * _STEP
        offset = _offset(number + place)
        _write_poses(out, layout, names, content, offset)
        for side, agent in _AGENTS.items():
            points = np.fromfile(scenario / f'{agent}/{stem}.bin', '<f4').reshape(-1, 4)
            path = out / f'{side}-side/velodyne/{names[side]}.pcd'
            path.parent.mkdir(parents=True, exist_ok=True)
            write_cloud(path, points, with_time=side == 'vehicle')
            entry = _entry(layout, side, names[side], group, ends[side], time)
            picture = scenario / f'{agent}/{stem}_cam1{IMAGE_SUFFIX}'
            if picture.is_file():
                entry |= _write_camera(out, side, names[side], picture, content[side]['cam1'])
            lists.frames[side].append(entry)
            lists.splits[f'{side}_split'][split].append(names[side])
        lists.splits['cooperative_split'][split].append(names['vehicle'])
        lists.pairs.append(_pair(layout, names, group, offset))
        folder = 'label' if layout == 'v2x_seq' else 'label_world'
        labels = list(_labels(layout, content['vehicle'], content['infrastructure']))
        _write(out / f'cooperative/{folder}/{names["vehicle"]}.json', labels)


def _offset(count: int) -> tuple[float, float]:
    """A correction as rough as the authors': multiples of 0.04 m up to 0.3 m, never 0."""
    return 0.04 * (1 + count % 5), -0.04 * (1 + (2 * count) % 7)


def _write_poses(
    out: Path,
    layout: str,
    names: dict[str, str],
    content: dict[str, dict],
    offset: tuple[float, float],
) -> None:
    """Calibration files whose chain, corrected as the set corrects, gives the agents' poses."""
    world_from_vehicle = pose_to_matrix(content['vehicle']['lidar_pose'])
    world_from_unit = pose_to_matrix(content['infrastructure']['lidar_pose'])
    novatel_from_vehicle = pose_to_matrix(_MOUNTING)
    back = np.eye(4)
    back[:2, 3] = np.negative(offset)
    if layout == 'v2x_seq':  # the correction is along the axes of the vehicle's LiDAR
        back = world_from_vehicle @ back @ invert_rigid(world_from_vehicle)
    vehicle, unit = out / 'vehicle-side/calib', out / 'infrastructure-side/calib'
    name = f'{names["vehicle"]}.json'
    _write(vehicle / 'lidar_to_novatel' / name, dict(transform=_transform(novatel_from_vehicle)))
    world_from_novatel = world_from_vehicle @ invert_rigid(novatel_from_vehicle)
    _write(vehicle / 'novatel_to_world' / name, _transform(world_from_novatel))
    found = _transform(back @ world_from_unit)
    if layout == 'dair_v2x_c':
        found['relative_error'] = dict(delta_x=offset[0], delta_y=offset[1])
    _write(unit / f'virtuallidar_to_world/{names["infrastructure"]}.json', found)


def _write_camera(out: Path, side: str, name: str, picture: Path, camera: dict) -> dict[str, str]:
    """A picture and its calibration; what the list of frames says of them."""
    image, sensor = f'image/{name}.jpg', f'{_SENSORS[side]}_to_camera'
    target = out / f'{side}-side' / image
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(picture, target)
    camera_from_lidar = invert_rigid(np.array(camera['extrinsic'], dtype=np.float64))
    flat = [float(value) for row in camera['intrinsic'] for value in row]
    files = dict(
        camera_intrinsic=dict(cam_D=[0.0] * 5, cam_K=flat),
        **{sensor: _transform(camera_from_lidar)},
    )
    paths = {kind: f'calib/{kind}/{name}.json' for kind in files}
    for kind, content in files.items():
        _write(out / f'{side}-side' / paths[kind], content)
    return dict(image_path=image) | {f'calib_{kind}_path': path for kind, path in paths.items()}


def _transform(matrix: np.ndarray) -> dict[str, list]:
    return dict(rotation=matrix[:3, :3].tolist(), translation=matrix[:3, 3:].tolist())


def _entry(
    layout: str, side: str, name: str, group: str, ends: tuple[str, str], time: int
) -> dict[str, object]:
    entry = dict(
        pointcloud_path=f'velodyne/{name}.pcd',
        pointcloud_timestamp=str(time),
        image_timestamp=str(time),
        label_lidar_std_path=f'label/{_SENSORS[side]}/{name}.json',
    )
    start, end = ends
    if layout == 'dair_v2x_c':
        return entry | dict(batch_id=group, batch_start_id=start, batch_end_id=end)
    entry |= dict(frame_id=name, sequence_id=group)
    if side == 'vehicle':
        return entry | dict(start_frame_id=start, end_frame_id=end)
    return entry | dict(valid_frames_splits=[dict(start_frame_id=start, end_frame_id=end)])


def _pair(
    layout: str, names: dict[str, str], group: str, offset: tuple[float, float]
) -> dict[str, object]:
    shift = dict(system_error_offset=dict(delta_x=offset[0], delta_y=offset[1]))
    if layout == 'v2x_seq':
        frames = {f'{side}_frame': name for side, name in names.items()}
        return frames | {f'{side}_sequence': group for side in names} | shift
    clouds = {
        f'{side}_pointcloud_path': f'{side}-side/velodyne/{name}.pcd'
        for side, name in names.items()
    }
    label = f'cooperative/label_world/{names["vehicle"]}.json'
    return clouds | dict(cooperative_label_path=label) | shift


def _labels(layout: str, vehicle: dict, unit: dict) -> Iterator[dict[str, object]]:
    """The union of the two agents' objects, as the set writes cooperative labels."""
    pose = np.array(vehicle['lidar_pose'], dtype=np.float64)
    vehicle_from_world = invert_rigid(pose_to_matrix(pose))
    both = {**unit['vehicles'], **vehicle['vehicles']}
    for key, item in sorted(both.items(), key=lambda entry: int(entry[0])):
        place = np.add(item['location'], item['center'])
        if np.hypot(*(place - pose[:3])[:2]) < _OWN_BODY:
            continue
        sizes = 2 * np.array(item['extent'], dtype=np.float64)
        world_from_object = pose_to_matrix([*place, *item['angle']])
        if layout == 'dair_v2x_c':
            box = np.array([[0.0, 0.0, -sizes[2] / 2, *sizes, 0.0]])
            order = (1, 0, 3, 2, 5, 4, 7, 6)  # front left first, then to the right and backwards
            local = np.pad(corners_of(box)[0][list(order)], ((0, 0), (0, 1)), constant_values=1.0)
            corners = (local @ world_from_object.T)[:, :3]
            yield dict(type=item['obj_type'], world_8_points=corners.tolist())
            continue
        x, y, z, _, yaw, _ = matrix_to_pose(vehicle_from_world @ world_from_object)
        seen = {
            side: key in content['vehicles'] for side, content in (('veh', vehicle), ('inf', unit))
        }
        yield dict(
            type=item['obj_type'],
            track_id=f'{int(key):06d}',
            token=f'{key}',
            from_side='coop' if all(seen.values()) else 'veh' if seen['veh'] else 'inf',
            **{'3d_location': dict(x=x, y=y, z=z)},
            **{'3d_dimensions': dict(zip('lwh', sizes.tolist(), strict=True))},
            rotation=float(np.deg2rad(yaw)),
            **{f'{side}_track_id': f'{int(key):06d}' if seen[side] else '-1' for side in seen},
        )


def write_cloud(path: Path, points: np.ndarray, with_time: bool) -> None:
    """Write a cloud as ``.pcd``, ``DATA binary``.

    Args:
        path: file to write.
        points: (P, 4) x, y, z (m) and intensity, 0 to 1.
        with_time: write intensities of 0 to 255 as bytes, and a time for each point.
    """
    names = [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('intensity', '<f4')]
    scale = 1.0
    if with_time:
        names[3], scale = ('intensity', 'u1'), 255.0
        names.append(('timestamp', '<f8'))
    table = np.zeros(len(points), dtype=names)
    for i, axis in enumerate('xyz'):
        table[axis] = points[:, i]
    bright = scale * np.nan_to_num(points[:, 3])
    table['intensity'] = np.round(bright) if with_time else bright
    kinds = [np.dtype(kind) for _, kind in names]
    header = {
        'VERSION': ['0.7'],
        'FIELDS': [name for name, _ in names],
        'SIZE': [kind.itemsize for kind in kinds],
        'TYPE': [kind.kind.upper() for kind in kinds],
        'COUNT': [1] * len(names),
        'WIDTH': [len(points)],
        'HEIGHT': [1],
        'VIEWPOINT': [0, 0, 0, 1, 0, 0, 0],
        'POINTS': [len(points)],
        'DATA': ['binary'],
    }
    lines = (' '.join(map(str, (key, *values))) for key, values in header.items())
    path.write_bytes(('\n'.join(lines) + '\n').encode() + table.tobytes())


def _load(path: Path) -> dict:
    return yaml.load(path.read_text(), Loader=yaml.CSafeLoader)


def _write(path: Path, content: dict | Iterable) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))
