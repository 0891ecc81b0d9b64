"""Rewrites a dataset in V2XPnP-Seq's format as the others lie on disk.

Its four relatives are written with SciPy's rotations and PyYAML alone, so that the readers are not
checked by themselves.
"""

import shutil
from pathlib import Path

import cv2
import lzf
import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from turbotrain.simulation import DAIR_LAYOUTS, rewrite_as_dair

DATASETS = ('v2xpnp', 'v2xreal', 'opv2v', 'v2xset', 'v2v4real')


def matrix(pose) -> np.ndarray:
    x, y, z, roll, yaw, pitch = pose
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler('ZYX', [yaw, -pitch, -roll], degrees=True).as_matrix()
    out[:3, 3] = x, y, z
    return out


def pose(transform: np.ndarray) -> list[float]:
    yaw, pitch, roll = Rotation.from_matrix(transform[:3, :3]).as_euler('ZYX', degrees=True)
    return [*transform[:3, 3].tolist(), -roll, yaw, -pitch]


def rewrite(source: Path, out: Path, dataset: str) -> None:
    """Write ``source`` (V2XPnP-Seq's format, .bin clouds) as ``dataset`` has it."""
    if dataset in DAIR_LAYOUTS:
        rewrite_as_dair(source, out, dataset)
        return
    if dataset in ('v2xpnp', 'v2xreal'):
        shutil.copytree(source, out, ignore=shutil.ignore_patterns('*.npz'))
        if dataset == 'v2xreal' and (out / 'val').is_dir():
            (out / 'val').rename(out / 'validate')
        return
    if (source / 'map').is_dir():
        shutil.copytree(source / 'map', out / 'map')
    write = dict(opv2v=_carla, v2xset=_carla, v2v4real=_v2v4real)[dataset]
    for path in sorted(source.glob('*/*/*/*.yaml')):
        split, scenario, agent = path.relative_to(source).parts[:3]
        content = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        points = np.fromfile(path.with_suffix('.bin'), '<f4').reshape(-1, 4)
        folder = out / split / scenario / agent
        folder.mkdir(parents=True, exist_ok=True)
        if dataset in ('opv2v', 'v2xset'):
            content['cameras'] = list(_pictures(path, content))
        write(folder, path.stem, content, points, dataset)
        if dataset != 'v2v4real':
            (folder.parent / 'data_protocol.yaml').write_text('world: {seed: 1}\n')


def _pictures(path: Path, content: dict):
    """Each camera's picture, and its entry in the annotation."""
    for number in range(1, 5):
        picture = path.with_name(f'{path.stem}_cam{number}.jpeg')
        if picture.exists():
            yield cv2.imread(str(picture)), content[f'cam{number}']


def _carla_camera(camera: dict, world_from_lidar: np.ndarray) -> dict:
    """A camera with x ahead, y to the right and z up; ``extrinsic`` maps the LiDAR's points."""
    mirror = np.diag([1.0, -1.0, 1.0, 1.0])
    body_from_optical = np.zeros((4, 4))  # of right-handed bodies with y to the left
    body_from_optical[[0, 1, 2, 3], [2, 0, 1, 3]] = 1.0, -1.0, -1.0, 1.0
    lidar_from_body = np.array(camera['extrinsic']) @ np.linalg.inv(body_from_optical)
    x, y, z, roll, yaw, pitch = pose(world_from_lidar @ lidar_from_body)
    return dict(
        cords=[x, -y, z, -roll, -yaw, pitch],
        extrinsic=(mirror @ np.linalg.inv(lidar_from_body) @ mirror).tolist(),
        intrinsic=camera['intrinsic'],
    )


def _carla(folder: Path, stem: str, content: dict, points: np.ndarray, dataset: str) -> None:
    """Left-handed, 20 Hz frame numbers, boxes from their foot, no class names in OPV2V."""

    def mirrored(six) -> list[float]:
        x, y, z, roll, yaw, pitch = map(float, six)
        return [x, -y, z, -roll, -yaw, pitch]

    vehicles = {}
    for key, item in content['vehicles'].items():
        *location, roll, yaw, pitch = mirrored([*item['location'], *item['angle']])
        height = item['extent'][2]
        location[2] -= height
        vehicles[key] = dict(
            angle=[roll, yaw, pitch],
            center=[0.0, 0.0, height],
            extent=item['extent'],
            location=location,
            speed=3.5,
        )
        if dataset == 'v2xset':
            vehicles[key]['obj_type'] = item['obj_type']
    lidar_pose = mirrored(content['lidar_pose'])
    annotation = dict(
        camera0=dict(cords=lidar_pose),
        ego_speed=21.6,
        lidar_pose=lidar_pose,
        plan_trajectory=[[1.0, 2.0]],
        predicted_ego_pos=lidar_pose,
        true_ego_pos=lidar_pose,
        vehicles=vehicles,
    )
    stem = f'{2 * int(stem):06d}'
    for number, (picture, camera) in enumerate(content['cameras']):
        world_from_lidar = matrix(content['lidar_pose'])
        annotation[f'camera{number}'] = _carla_camera(camera, world_from_lidar)
        cv2.imwrite(str(folder / f'{stem}_camera{number}.png'), picture)
    with (folder / f'{stem}.yaml').open('w') as file:
        yaml.dump(annotation, file)
    (folder / f'{stem}_additional.yaml').write_text('unrelated: true\n')
    points = points * np.float32([1, -1, 1, 1])
    write_pcd(folder / f'{stem}.pcd', points, 'ascii' if dataset == 'opv2v' else 'binary')


def _v2v4real(folder: Path, stem: str, content: dict, points: np.ndarray, dataset: str) -> None:
    """4x4 poses as NumPy arrays, objects in the agent's own frame under ids of its own."""
    world_from_agent = matrix(content['lidar_pose'])
    vehicles = {}
    for own, (key, item) in enumerate(content['vehicles'].items()):
        world_from_object = matrix([*item['location'], *item['angle']])
        in_agent = pose(np.linalg.inv(world_from_agent) @ world_from_object)
        vehicles[own] = dict(
            angle=in_agent[3:],
            ass_id=key,
            center=[0.0, 0.0, 0.0],
            extent=item['extent'],
            location=in_agent[:3],
            obj_type=item['obj_type'],
        )
    annotation = dict(ego_speed=np.float64(0.0), lidar_pose=world_from_agent, vehicles=vehicles)
    with (folder / f'{stem}.yaml').open('w') as file:
        yaml.dump(annotation, file)
    write_pcd(folder / f'{stem}.pcd', points, 'binary_compressed')


def write_pcd(path: Path, points: np.ndarray, data: str, packed_rgb: bool | None = None) -> None:
    """Write a cloud; ``packed_rgb`` (ascii's default) puts the intensity into red, as in OPV2V."""
    rgb = data == 'ascii' if packed_rgb is None else packed_rgb
    table = points.astype('<f4')
    if rgb:
        red = np.round(np.nan_to_num(points[:, 3]) * 255).astype('<u4')
        table[:, 3] = (red << 16).view('<f4')
    header = (
        '# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n'
        f'FIELDS x y z {"rgb" if rgb else "intensity"}\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n'
        f'WIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n'
        f'POINTS {len(points)}\nDATA {data}\n'
    ).encode()
    if data == 'ascii':
        rows = '\n'.join(' '.join(f'{value:.9g}' for value in row) for row in table.tolist())
        path.write_bytes(header + rows.encode() + b'\n')
    elif data == 'binary':
        path.write_bytes(header + table.tobytes())
    else:
        raw = table.T.tobytes()  # field after field
        packed = lzf.compress(raw, 2 * len(raw) + 64)
        sizes = np.array([len(packed), len(raw)], dtype='<u4').tobytes()
        path.write_bytes(header + sizes + packed)
