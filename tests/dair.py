"""DAIR-V2X-C and V2X-Seq in tests: opened, and written by hand for what a scene does not have."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from turbotrain.datasets import V2XPnPDataset, build_infos, save_infos
from turbotrain.simulation.dair_layout import write_cloud

NAMES = ('dair_v2x_c', 'v2x_seq')
RANGE = [-60.0, -40.0, -5.0, 60.0, 40.0, 3.0]
PIPELINE = [
    dict(type='LoadCooperativePoints', zero_intensity=False),
    dict(type='ProjectPointsToEgo'),
    dict(type='CooperativeRangeFilter', point_cloud_range=RANGE),
    dict(type='PackCooperativeInputs'),
]

BEGIN = 1_626_000_000_000_000  # microseconds
TURNED = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]  # a quarter turn to the left
PLAIN = np.eye(3).tolist()
SPLIT_FILES = dict(
    dair_v2x_c='cooperative-split-data.json', v2x_seq='cooperative-split-data-spd.json'
)


def open_as(root: Path, dataset: str, **settings) -> V2XPnPDataset:
    """The training split; classes of all kinds are one."""
    infos = build_infos(str(root), 'train', dataset)
    path = root / f'{dataset}_infos_train.npz'
    save_infos(str(path), infos)
    own = dict(num_history=2, num_future=3 * (dataset != 'dair_v2x_c'), comm_range=1e3)
    return V2XPnPDataset(
        path.name,
        str(root),
        class_map=dict(vehicle=infos.class_names.tolist()),
        pipeline=PIPELINE,
        test_mode=True,
        **own | settings,
    )


class Frame(NamedTuple):
    """A frame of one side: its number, its time in ms, its batch or sequence."""

    number: int
    ms: int
    group: str = '0001'

    @property
    def name(self) -> str:
        return f'{self.number:06d}'


class Pair(NamedTuple):
    """A pair of frames, by their numbers, and its correction in m."""

    vehicle: int
    unit: int
    offset: tuple | str = (0.0, 0.0)


def box(dataset: str, x: float = 10.0, y: float = 2.0, yaw: float = 0.0, **more) -> dict:
    """A car of 4 x 2 x 1.5 m at a place in the frame that the set's labels have."""
    if dataset == 'v2x_seq':
        found = {
            '3d_location': dict(x=x, y=y, z=-1.0),
            '3d_dimensions': dict(l=4.0, w=2.0, h=1.5),
            'rotation': yaw,
            'track_id': '000007',
        }
        return dict(type='Car') | found | more
    c, s = np.cos(yaw), np.sin(yaw)
    corners = []
    for z in (-1.75, -0.25):
        for dx, dy in ((2, 1), (2, -1), (-2, -1), (-2, 1)):
            corners.append([x + c * dx - s * dy, y + s * dx + c * dy, z])
    return dict(type='car', world_8_points=corners) | more


def put(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_set(
    root: Path,
    dataset: str,
    vehicles: list[Frame],
    units: list[Frame],
    pairs: list[Pair],
    labels: dict[int, list] | None = None,
    split: list[int] | None = None,
    without: tuple[str, ...] = (),
    rotation: list = TURNED,
    place: tuple = (100.0, 200.0, 20.0),
) -> Path:
    """Write a set of one split.

    The vehicle stands at ``place``, turned by ``rotation``; the unit 30 m along the world's x from
    it, not turned. Files whose ends are in ``without`` are left out.
    """
    folder = 'label' if dataset == 'v2x_seq' else 'label_world'
    (root / 'cooperative' / folder).mkdir(parents=True)

    def write(path: str, content: object) -> None:
        if not path.endswith(without or ('\0',)):
            put(root / path, content)

    for side, frames in (('vehicle', vehicles), ('infrastructure', units)):
        entries = []
        for place_in_list, frame in enumerate(frames):
            entry = dict(
                pointcloud_path=f'velodyne/{frame.name}.pcd',
                pointcloud_timestamp=str(BEGIN + 1000 * frame.ms),
            )
            if dataset == 'v2x_seq':
                entry |= dict(frame_id=frame.name, sequence_id=frame.group)
            else:  # at the top level, or within a list: both have been seen
                ends = dict(batch_start_id='000000', batch_end_id='999999')
                entry['batch_id'] = frame.group
                entry |= ends if place_in_list % 2 else dict(valid_batch_splits=[ends])
            entries.append(entry)
            cloud = root / f'{side}-side/velodyne/{frame.name}.pcd'
            cloud.parent.mkdir(parents=True, exist_ok=True)
            if not str(cloud).endswith(without or ('\0',)):
                points = np.full((5, 4), [5.0, 1.0, -1.0, 0.5]) + frame.number
                write_cloud(cloud, points.astype('<f4'), with_time=False)
            calib = f'{side}-side/calib'
            if side == 'vehicle':
                mounted = dict(rotation=PLAIN, translation=[[0.0], [0.0], [0.0]])
                write(f'{calib}/lidar_to_novatel/{frame.name}.json', dict(transform=mounted))
                pose = dict(rotation=rotation, translation=[[v] for v in place])
                write(f'{calib}/novatel_to_world/{frame.name}.json', pose)
            else:
                there = [[place[0] + 30.0], [place[1]], [place[2] + 4.0]]
                pose = dict(rotation=PLAIN, translation=there)
                write(f'{calib}/virtuallidar_to_world/{frame.name}.json', pose)
        write(f'{side}-side/data_info.json', entries)
    entries = []
    for vehicle, unit, offset in pairs:
        shift = offset
        if not isinstance(offset, str):
            shift = dict(zip(('delta_x', 'delta_y'), offset, strict=True))
        if dataset == 'v2x_seq':
            pair = dict(vehicle_frame=f'{vehicle:06d}', infrastructure_frame=f'{unit:06d}')
        else:
            pair = dict(
                vehicle_pointcloud_path=f'vehicle-side/velodyne/{vehicle:06d}.pcd',
                infrastructure_pointcloud_path=f'infrastructure-side/velodyne/{unit:06d}.pcd',
            )
        entries.append(pair | dict(system_error_offset=shift))
        found = [box(dataset)] if labels is None else labels.get(vehicle)
        if found is not None:
            write(f'cooperative/{folder}/{vehicle:06d}.json', found)
    write('cooperative/data_info.json', entries)
    ids = [f'{v:06d}' for v in (split if split is not None else sorted({p.vehicle for p in pairs}))]
    write(SPLIT_FILES[dataset], dict(cooperative_split=dict(train=ids, val=[], test=[], test_A=[])))
    return root
