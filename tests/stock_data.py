"""A few frames in the formats of KITTI and nuScenes, as mmdet3d 1.x's own converters leave them."""

import pickle
from pathlib import Path

import numpy as np

KITTI = dict(Pedestrian=(0.8, 0.6, 1.7), Cyclist=(1.8, 0.6, 1.7), Car=(3.9, 1.6, 1.5))
NUSCENES = (
    'car', 'truck', 'trailer', 'bus', 'construction_vehicle', 'bicycle', 'motorcycle',
    'pedestrian', 'traffic_cone', 'barrier',
)  # fmt: skip
GROUND = -1.7
# x right, y down, z ahead; as R0_rect @ Tr_velo_to_cam of KITTI is.
LIDAR2CAM = np.array([[0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27], [0, 0, 0, 1.0]])


def make_objects(rng: np.random.Generator, sizes: dict) -> tuple[np.ndarray, list[np.ndarray]]:
    """Boxes (M, 7) x, y, z_bottom, l, w, h, yaw, far from each other, and the points in them."""
    places = [(8 + 7 * (i // 3), -9 + 9 * (i % 3)) for i in range(len(sizes))]
    boxes, clouds = [], []
    for (x, y), size in zip(rng.permutation(places), sizes.values(), strict=True):
        yaw = rng.uniform(-3, 3)
        inside = rng.uniform(-0.5, 0.5, (80, 3)) * size
        cos, sin = np.cos(yaw), np.sin(yaw)
        turned = inside[:, :2] @ np.array([[cos, sin], [-sin, cos]])
        boxes.append([x, y, GROUND, *size, yaw])
        clouds.append(np.column_stack([turned + [x, y], inside[:, 2] + GROUND + size[2] / 2]))
    return np.array(boxes), clouds


def make_cloud(rng: np.random.Generator, objects: list[np.ndarray], features: int) -> np.ndarray:
    """Ground and objects (P, 4 or 5): x, y, z, intensity, and for nuScenes the ring."""
    ground = rng.uniform([1, -12, GROUND - 0.05], [25, 12, GROUND + 0.05], (1500, 3))
    xyz = np.concatenate([ground, *objects])
    rest = rng.uniform(0, 1, (len(xyz), features - 3))
    return np.column_stack([xyz, rest]).astype('<f4')


def write_database(folder: Path, root: Path, objects: list[dict]) -> dict[str, list[dict]]:
    """Object samples: points about each box's origin, and what mmdet3d keeps of them."""
    folder.mkdir(parents=True)
    infos: dict[str, list[dict]] = {}
    for i, entry in enumerate(objects):
        path = folder / f'{i}.bin'
        entry.pop('points').astype('<f4').tofile(path)
        entry.update(path=str(path.relative_to(root)), image_idx=0, gt_idx=i, difficulty=0)
        infos.setdefault(entry['name'], []).append(entry | dict(group_id=i, score=0.0))
    return infos


def database_entry(name: str, box: np.ndarray, points: np.ndarray, extra: int) -> dict:
    local = np.column_stack([points - box[:3], np.zeros((len(points), extra))])
    return dict(
        name=name, points=local, num_points_in_gt=len(points), box3d_lidar=box.astype(np.float32)
    )


def write_kitti(root: Path, frames: int = 4) -> Path:
    """``training/velodyne_reduced``, ``kitti_infos_train.pkl`` and the database of objects."""
    rng = np.random.default_rng(0)
    clouds = root / 'training/velodyne_reduced'
    clouds.mkdir(parents=True)
    cam2img = np.array(
        [[721.5, 0, 609.6, 44.9], [0, 721.5, 172.9, 0.2], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    cam = dict(cam2img=cam2img.tolist(), lidar2img=(cam2img @ LIDAR2CAM).tolist())
    camera = dict(cam, lidar2cam=LIDAR2CAM.tolist(), height=375, width=1242)
    data, objects = [], []
    for frame in range(frames):
        boxes, points = make_objects(rng, KITTI)
        make_cloud(rng, points, 4).tofile(clouds / f'{frame:06d}.bin')
        instances = []
        for label, (name, box, own) in enumerate(zip(KITTI, boxes, points, strict=True)):
            objects.append(database_entry(name, box, own, 1))
            x, y, z = (LIDAR2CAM @ [*box[:3], 1])[:3]
            length, width, height, yaw = box[3:]
            turn = -yaw - np.pi / 2
            instances.append(
                dict(
                    bbox=[500.0, 150.0, 600.0, 220.0], bbox_label=label, bbox_label_3d=label,
                    bbox_3d=[x, y, z, length, height, width, turn], depth=z,
                    center_2d=[550.0, 185.0], num_lidar_pts=len(own), difficulty=0,
                    truncated=0.0, occluded=0, alpha=turn, score=0.0, index=label, group_id=label,
                )
            )  # fmt: skip
        data.append(
            dict(
                sample_idx=frame,
                images=dict(
                    CAM2=dict(camera, img_path=f'{frame:06d}.png'), R0_rect=np.eye(4).tolist()
                ),
                lidar_points=dict(
                    num_pts_feats=4, lidar_path=f'{frame:06d}.bin',
                    Tr_velo_to_cam=LIDAR2CAM.tolist(), Tr_imu_to_velo=np.eye(4).tolist(),
                ),
                instances=instances,
                plane=np.array([0.0, -1.0, 0.0, 1.65]),
            )
        )  # fmt: skip
    names = (*KITTI, 'Van', 'Truck', 'Person_sitting', 'Tram', 'Misc')
    metainfo = dict(categories={name: i for i, name in enumerate(names)}, dataset='kitti')
    dump(root / 'kitti_infos_train.pkl', metainfo, data)
    database = write_database(root / 'kitti_gt_database', root, objects)
    (root / 'kitti_dbinfos_train.pkl').write_bytes(pickle.dumps(database))
    return root


def write_nuscenes(root: Path, frames: int = 2) -> Path:
    """Key frames, one sweep of each, ``nuscenes_infos_train.pkl`` and the database of objects."""
    rng = np.random.default_rng(0)
    size = dict.fromkeys(NUSCENES, (1.8, 0.8, 1.6)) | dict(car=(4.5, 1.9, 1.7))
    for folder in ('samples', 'sweeps'):
        (root / folder / 'LIDAR_TOP').mkdir(parents=True)
    data, objects = [], []
    for frame in range(frames):
        boxes, points = make_objects(rng, size)
        now, before = f'key{frame}.pcd.bin', f'sweep{frame}.pcd.bin'
        make_cloud(rng, points, 5).tofile(root / 'samples/LIDAR_TOP' / now)
        make_cloud(rng, points, 5).tofile(root / 'sweeps/LIDAR_TOP' / before)
        instances = []
        for label, (name, box, own) in enumerate(zip(size, boxes, points, strict=True)):
            velocity = np.array([0.5, 0.0])
            objects.append(database_entry(name, np.append(box, velocity), own, 2))
            centre = box + [0, 0, box[5] / 2, 0, 0, 0, 0]  # nuScenes counts from the middle
            instances.append(
                dict(
                    bbox_3d=centre.tolist(), bbox_label=label, bbox_label_3d=label,
                    velocity=velocity.tolist(), num_lidar_pts=len(own), num_radar_pts=0,
                    bbox_3d_isvalid=True,
                )
            )  # fmt: skip
        eye = np.eye(4).tolist()
        sweep = dict(lidar_path=f'data/nuscenes/sweeps/LIDAR_TOP/{before}')
        data.append(
            dict(
                sample_idx=frame, token=f'token{frame}', timestamp=frame * 0.5 + 100,
                ego2global=eye,
                images={}, instances=instances,
                lidar_points=dict(num_pts_feats=5, lidar_path=now, lidar2ego=eye),
                lidar_sweeps=[
                    dict(
                        timestamp=frame * 0.5 + 99.95, sample_data_token='', ego2global=eye,
                        lidar_points=dict(sweep, lidar2ego=eye, lidar2sensor=eye),
                    )
                ],
            )
        )  # fmt: skip
    categories = {name: i for i, name in enumerate(NUSCENES)}
    metainfo = dict(categories=categories, dataset='nuscenes', version='v1.0-trainval')
    dump(root / 'nuscenes_infos_train.pkl', metainfo, data)
    database = write_database(root / 'nuscenes_gt_database', root, objects)
    (root / 'nuscenes_dbinfos_train.pkl').write_bytes(pickle.dumps(database))
    return root


def dump(path: Path, metainfo: dict, data_list: list[dict]) -> None:
    metainfo['info_version'] = '1.1'
    path.write_bytes(pickle.dumps(dict(metainfo=metainfo, data_list=data_list)))
