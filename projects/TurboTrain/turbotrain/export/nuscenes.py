"""Samples and predictions as nuScenes has them: JSON tables, clouds and ``results_nusc.json``.

A scene is what one ego sees of one scenario, and its LiDAR is both the sensor and the vehicle. The
names of scenes are nuScenes' own, since the devkit and mmdet3d tell the splits by them; a scene's
description says what it is. mmdet3d's converter asks for six cameras: they stand in the LiDAR, look
round, and see one black picture each (our choice).
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby, pairwise
from pathlib import Path

import cv2
import numpy as np
from mmdet3d.structures.ops.box_np_ops import points_in_rbbox
from scipy.spatial.transform import Rotation

from ..errors import UserError
from ..structures import transform_points
from ..whole_file import write_whole
from .moments import Moment, Moments, token_of

__all__ = ['NUSCENES_NAMES', 'write_nuscenes', 'write_nuscenes_predictions']

_VERSIONS = dict(train='v1.0-trainval', val='v1.0-trainval', test='v1.0-test')
_LIDAR = 'LIDAR_TOP'
_CAMERAS = dict(  # by where they look, degrees to the left
    CAM_FRONT=0, CAM_FRONT_LEFT=55, CAM_FRONT_RIGHT=-55, CAM_BACK=180, CAM_BACK_LEFT=110,
    CAM_BACK_RIGHT=-110,
)  # fmt: skip
_WIDTH, _HEIGHT, _FOCAL = 1600, 900, 1266.0  # pixels
_BRIGHT = 255.0  # intensities of nuScenes go so far, ours to 1
_MOST = 500  # predictions that the devkit takes of one sample

# A class of nuScenes' detection task -> the category that it is made of.
_CATEGORIES = dict(
    car='vehicle.car', truck='vehicle.truck', trailer='vehicle.trailer', bus='vehicle.bus.rigid',
    construction_vehicle='vehicle.construction', bicycle='vehicle.bicycle',
    motorcycle='vehicle.motorcycle', pedestrian='human.pedestrian.adult',
    traffic_cone='movable_object.trafficcone', barrier='movable_object.barrier',
)  # fmt: skip
_ATTRIBUTES = (
    'cycle.with_rider', 'cycle.without_rider', 'pedestrian.moving', 'pedestrian.standing',
    'pedestrian.sitting_lying_down', 'vehicle.moving', 'vehicle.parked', 'vehicle.stopped',
)  # fmt: skip
# Classes of the project's class maps by nuScenes' names, and those that are called like its own.
NUSCENES_NAMES = dict(vehicle='car') | {name: name for name in _CATEGORIES}

Tables = dict[str, list[dict]]


def write_nuscenes(
    out: Path, splits: list[Moments], progress: Callable[..., Iterable[int]] = iter
) -> None:
    """Write clouds, and the tables at last: of ``v1.0-trainval`` and of ``v1.0-test``.

    Args:
        out: folder; clouds that lie in it already are left as they are.
        splits: each once.
        progress: wraps the iterator over samples of a split, e.g. ``tqdm``.

    Raises:
        OSError: a file cannot be written.
        UserError: a split has more scenes than nuScenes has names for.
    """
    picture = cv2.imencode('.png', np.zeros((_HEIGHT, _WIDTH), np.uint8))[1].tobytes()
    for channel in (_LIDAR, *_CAMERAS):
        (out / 'samples' / channel).mkdir(parents=True, exist_ok=True)
    (out / 'maps').mkdir(exist_ok=True)
    for name in ('maps/none.png', *(f'samples/{channel}/none.png' for channel in _CAMERAS)):
        write_whole(out / name, picture)
    for version in dict.fromkeys(_VERSIONS[moments.split] for moments in splits):
        tables = _common_tables()
        for moments in splits:
            if _VERSIONS[moments.split] == version:
                _add_split(out, tables, moments, progress)
        logs = [log['token'] for log in tables['log']]
        tables['map'] = [
            dict(token=token_of('map'), log_tokens=logs, category='semantic_prior',
                 filename='maps/none.png')
        ]  # fmt: skip
        (out / version).mkdir(exist_ok=True)
        for name, rows in tables.items():
            write_whole(out / version / f'{name}.json', json.dumps(rows))


def _common_tables() -> Tables:
    """All tables, filled with what every export has."""
    tables: Tables = {
        name: []
        for name in (
            'instance', 'ego_pose', 'log', 'scene', 'sample', 'sample_data', 'sample_annotation'
        )
    }  # fmt: skip
    tables['category'] = [
        dict(token=token_of('category', name), name=name, description='')
        for name in _CATEGORIES.values()
    ]
    tables['attribute'] = [
        dict(token=token_of('attribute', name), name=name, description='') for name in _ATTRIBUTES
    ]
    tables['visibility'] = [
        dict(token=str(i + 1), level=f'v{share}', description=f'{share} % are visible')
        for i, share in enumerate(('0-40', '40-60', '60-80', '80-100'))
    ]
    tables['sensor'] = [
        dict(token=token_of('sensor', name), channel=name,
             modality='lidar' if name == _LIDAR else 'camera')
        for name in (_LIDAR, *_CAMERAS)
    ]  # fmt: skip
    intrinsic = [[_FOCAL, 0.0, _WIDTH / 2], [0.0, _FOCAL, _HEIGHT / 2], [0.0, 0.0, 1.0]]
    forwards = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # of a camera's axes
    turns = {_LIDAR: np.eye(3)} | {
        name: Rotation.from_euler('z', degrees, degrees=True).as_matrix() @ forwards
        for name, degrees in _CAMERAS.items()
    }
    tables['calibrated_sensor'] = [
        dict(token=token_of('calibrated_sensor', name), sensor_token=token_of('sensor', name),
             translation=[0.0, 0.0, 0.0], rotation=_quaternion(turn),
             camera_intrinsic=[] if name == _LIDAR else intrinsic)
        for name, turn in turns.items()
    ]  # fmt: skip
    return tables


def _add_split(
    out: Path, tables: Tables, moments: Moments, progress: Callable[..., Iterable[int]]
) -> None:
    """Write the clouds of a split, and add what there is to say to the tables."""
    from nuscenes.utils import splits  # which takes seconds, and is wanted here only

    known = getattr(splits, moments.split)
    names = iter(known)
    everything = ((index, moments.labelled(index)) for index in progress(range(len(moments))))
    for (scenario, ego), scene in groupby(
        everything, key=lambda own: (own[1].scenario, own[1].ego)
    ):
        name = next(names, None)
        if name is None:
            raise UserError(
                f'{moments.dataset.ann_file}: has more scenes than the {len(known)} of '
                f'{moments.split} that nuScenes has names for'
            )
        added = _add_scene(out, tables, moments, name, scene)
        tables['scene'].append(added | dict(description=f'{scenario}, ego {ego}'))


def _add_scene(
    out: Path, tables: Tables, moments: Moments, name: str, scene: Iterable[tuple[int, Moment]]
) -> dict:
    """Write the clouds of a scene, and add its rows to the tables.

    Returns:
        The row of the scene itself.
    """
    token, log = token_of('scene', name), token_of('log', name)
    tables['log'].append(
        dict(token=log, logfile=name, vehicle='', date_captured='',
             location=str(moments.dataset.infos.dataset))
    )  # fmt: skip
    annotations, rows = defaultdict(list), defaultdict(list)
    for index, moment in scene:
        path = out / f'samples/{_LIDAR}/{name}__{_LIDAR}__{_microseconds(moment):016d}.pcd.bin'
        if path.exists():
            cloud = np.fromfile(path, '<f4').reshape(-1, 5)
        else:
            cloud = moments.cloud(index) * np.float32([1, 1, 1, _BRIGHT, 1])
            write_whole(path, cloud.tobytes())
        own = dict(token=moment.token, timestamp=_microseconds(moment))
        tables['ego_pose'].append(own | _pose(moment))
        rows['sample'].append(own | dict(scene_token=token))
        for channel, file in ({_LIDAR: path.name} | dict.fromkeys(_CAMERAS, 'none.png')).items():
            rows[channel].append(_sample_data(moment, channel, file))
        for key, annotation in _annotations(moment, cloud):
            annotations[key].append(annotation)
    for chain in (*rows.values(), *annotations.values()):
        _chain(chain)
    samples = rows.pop('sample')
    tables['sample'] += samples
    tables['sample_data'] += [row for own in rows.values() for row in own]
    for (track, category), own in annotations.items():
        instance = token_of('instance', name, track, category)
        tables['instance'].append(
            dict(token=instance, category_token=token_of('category', category),
                 nbr_annotations=len(own), first_annotation_token=own[0]['token'],
                 last_annotation_token=own[-1]['token'])
        )  # fmt: skip
        tables['sample_annotation'] += [row | dict(instance_token=instance) for row in own]
    return dict(
        token=token,
        log_token=log,
        nbr_samples=len(samples),
        name=name,
        first_sample_token=samples[0]['token'],
        last_sample_token=samples[-1]['token'],
    )


def _sample_data(moment: Moment, channel: str, file: str) -> dict:
    lidar = channel == _LIDAR
    return dict(
        token=token_of('sample_data', moment.token, channel),
        sample_token=moment.token,
        ego_pose_token=moment.token,
        calibrated_sensor_token=token_of('calibrated_sensor', channel),
        timestamp=_microseconds(moment),
        fileformat='pcd' if lidar else 'png',
        is_key_frame=True,
        height=0 if lidar else _HEIGHT,
        width=0 if lidar else _WIDTH,
        filename=f'samples/{channel}/{file}',
    )


def _annotations(moment: Moment, cloud: np.ndarray) -> Iterable[tuple[tuple[int, str], dict]]:
    """What identifies each object of a moment, with its row, which no instance has yet."""
    boxes, count = moment.boxes, np.zeros(len(moment.boxes), np.int64)
    if len(boxes):
        count = points_in_rbbox(cloud[:, :3], boxes, origin=(0.5, 0.5, 0)).sum(axis=0)
    for i, (box, track) in enumerate(zip(_boxes(moment), moment.tracks.tolist(), strict=True)):
        row = dict(
            token=token_of('annotation', moment.token, i),
            sample_token=moment.token,
            visibility_token='',
            attribute_tokens=[],
            **box,
            num_lidar_pts=int(count[i]),
            num_radar_pts=0,
        )
        yield (track, _CATEGORIES[moment.names[i]]), row


def _boxes(moment: Moment) -> list[dict[str, list[float]]]:
    """Place, size and turn of each box, in the world."""
    centres = moment.boxes[:, :3] + moment.boxes[:, 5:6] * [0.0, 0.0, 0.5]
    turns = Rotation.from_euler('z', moment.boxes[:, 6:7]).as_matrix()
    return [
        dict(
            translation=centre.tolist(),
            size=size.tolist(),
            rotation=_quaternion(moment.world_from_ego[:3, :3] @ turn),
        )
        for centre, size, turn in zip(
            transform_points(moment.world_from_ego, centres),
            moment.boxes[:, [4, 3, 5]],
            turns,
            strict=True,
        )
    ]


def _pose(moment: Moment) -> dict[str, list[float]]:
    place = moment.world_from_ego
    return dict(translation=place[:3, 3].tolist(), rotation=_quaternion(place[:3, :3]))


def _quaternion(turn: np.ndarray) -> list[float]:
    """A rotation matrix as w, x, y, z."""
    x, y, z, w = Rotation.from_matrix(turn).as_quat().tolist()
    return [w, x, y, z]


def _microseconds(moment: Moment) -> int:
    return round(1e6 * moment.seconds)


def _chain(rows: list[dict]) -> None:
    """Name before and after each row the one that comes there, ``''`` at the ends."""
    for row in rows:
        row.update(prev='', next='')
    for one, other in pairwise(rows):
        one['next'], other['prev'] = other['token'], one['token']


def write_nuscenes_predictions(path: Path, predicted: Iterable[Moment]) -> None:
    """Write a ``results_nusc.json`` of the samples of a split.

    Of each sample the 500 boxes of highest score are written, as many as the devkit takes.

    Args:
        path: the file.
        predicted: all samples of the split, with predictions. Boxes without a velocity have 0.
    """
    results = {moment.token: _results(moment) for moment in predicted}
    used = dict.fromkeys(('camera', 'radar', 'map', 'external'), False) | dict(lidar=True)
    meta = {f'use_{name}': use for name, use in used.items()}
    write_whole(path, json.dumps(dict(meta=meta, results=results)))


def _results(moment: Moment) -> list[Mapping[str, object]]:
    boxes, scores = _boxes(moment), moment.scores
    velocity = np.zeros((len(boxes), 3))
    if moment.velocity is not None:
        velocity[:, :2] = moment.velocity
    velocity = velocity @ moment.world_from_ego[:3, :3].T
    return [
        dict(
            sample_token=moment.token,
            **boxes[i],
            velocity=velocity[i, :2].tolist(),
            detection_name=moment.names[i],
            detection_score=float(scores[i]),
            attribute_name='',
        )
        for i in np.argsort(-scores, kind='stable')[:_MOST].tolist()
    ]
