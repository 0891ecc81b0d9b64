"""A store of objects with their past and future, to paste into other samples."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from mmdet3d.structures.ops.box_np_ops import points_in_rbbox

from ..errors import SettingError
from ..structures import (
    VEHICLE,
    boxes_from_world,
    invert_rigid,
    pose_to_matrix,
    transform_points,
)
from .archives import Column, check_columns, check_runs, read_archive, write_archive
from .readers import DataFileError
from .transforms.loading import LoadCooperativePoints
from .v2xpnp_dataset import V2XPnPDataset

__all__ = ['ObjectDatabase', 'build_object_database', 'load_objects', 'save_objects']

_FORMAT, _VERSION = 'turbotrain-objects', 3
_FAR = 1e5  # m, no object was seen from further away
_COLUMNS = dict(
    class_names=Column(str, ('classes',)),
    time_offsets=Column(np.float64, ('steps',), -1e4, 1e4),
    label=Column(np.int64, ('objects',), 0),
    size=Column(np.float64, ('objects', 3), np.finfo(np.float32).tiny, _FAR),
    centre=Column(np.float64, ('objects', 'steps', 3), -_FAR, _FAR),
    yaw=Column(np.float64, ('objects', 'steps'), -1e3, 1e3),
    known=Column(np.bool_, ('objects', 'steps')),
    begin=Column(np.int64, ('objects+1',), 0),
    points=Column(np.float32, ('points', 4), -_FAR, _FAR),
)


@dataclass(frozen=True, eq=False)
class ObjectDatabase:
    """E objects at S steps: the dataset's past ones, the current one, and its future ones.

    Attributes:
        class_names: (C,) names of the classes.
        time_offsets: (S,) s, of the steps relative to the current one.
        label: (E,) int64 index into ``class_names``.
        size: (E, 3) float64 length, width and height, metres.
        centre: (E, S, 3) float64 box centres in the frame of the ego they were seen by, at the
            current step, metres; 0 where unknown.
        yaw: (E, S) float64 in that frame, radians.
        known: (E, S) bool.
        begin: (E + 1,) int64; object e has the points ``begin[e]:begin[e + 1]``.
        points: (P, 4) float32 in the frame of the box (its centre, x ahead), of all agents.
    """

    class_names: np.ndarray
    time_offsets: np.ndarray
    label: np.ndarray
    size: np.ndarray
    centre: np.ndarray
    yaw: np.ndarray
    known: np.ndarray
    begin: np.ndarray
    points: np.ndarray


def build_object_database(
    dataset: V2XPnPDataset,
    min_points: int = 20,
    max_points: int = 512,
    stride: int = 5,
    load: LoadCooperativePoints | None = None,
    progress: Callable[..., Iterable[int]] | None = None,
) -> ObjectDatabase:
    """Collect every object of a dataset once, from the sample that has most points on it.

    Samples whose ego is a roadside unit are left out: below each of them the road lies elsewhere,
    so that what one has seen would hang in the air of another.

    Args:
        dataset: a training split; its pipeline is not run.
        min_points: leave out objects with fewer in all clouds of a moment together.
        max_points: keep this many of an object's points, drawn by chance.
        stride: look at every so manieth sample.
        load: how clouds are loaded; by default with their intensities.
        progress: wraps the iterator over samples, e.g. ``tqdm``.

    Raises:
        DataFileError: a cloud cannot be read, and ``load`` does not drop such.
        SettingError: there is no object with so many points.
    """
    load = load or LoadCooperativePoints(zero_intensity=False)
    steps = np.concatenate([dataset.past, dataset.future])
    best: dict[tuple[str, int], dict] = {}
    indices = range(0, len(dataset), stride)
    for i in indices if progress is None else progress(indices):
        info = dataset.get_data_info(i)
        if info['agents'].kinds[0] != VEHICLE:
            continue
        info = load.transform(info)
        agents, t = info['agents'], info['agents'].num_frames
        cloud = np.concatenate([
            transform_points(agents.ego_from_agent[n, -1], info['points'][(n + 1) * t - 1])
            for n in range(len(agents))
        ])  # fmt: skip
        boxes = info['gt_bboxes_3d']
        inside = points_in_rbbox(cloud, boxes, origin=(0.5, 0.5, 0)) if len(boxes) else None
        for k in range(len(boxes)):
            own = np.flatnonzero(inside[:, k])
            key = info['scenario'], int(info['gt_track_ids'][k])
            if len(own) < max(min_points, 1 + best.get(key, dict(count=0))['count']):
                continue
            kept = info['rng'].permutation(own)[:max_points]
            centre = boxes[k, :3] + [0, 0, boxes[k, 5] / 2]
            pose = pose_to_matrix([*centre, 0, np.rad2deg(boxes[k, 6]), 0])
            best[key] = dict(
                count=len(own),
                label=int(info['gt_labels_3d'][k]),
                size=boxes[k, 3:6],
                points=transform_points(invert_rigid(pose), cloud[kept]).astype(np.float32),
                **_track(dataset, info, key[1], steps),
            )
    if not best:
        raise SettingError(
            f'{dataset.ann_file}: no object has {min_points} points in a sample whose ego is a '
            f'vehicle (mode {dataset.mode!r}, ego {dataset.ego!r})'
        )
    found = list(best.values())
    return ObjectDatabase(
        class_names=np.array(dataset.metainfo['classes']),
        time_offsets=steps / dataset.infos.dialect.frame_rate,
        begin=np.cumsum([0, *(len(item['points']) for item in found)]),
        points=np.concatenate([item['points'] for item in found]),
        **{
            key: np.stack([item[key] for item in found])
            for key in ('label', 'size', 'centre', 'yaw', 'known')
        },
    )


def _track(dataset: V2XPnPDataset, info: dict, track: int, steps: np.ndarray) -> dict:
    infos = dataset.infos
    scenario = int(np.searchsorted(infos.scenarios, info['scenario']))
    rows = infos.observations(
        scenario, np.array([track]), info['frame'] + steps, info['agents'].ids
    )[0]
    known = rows >= 0
    boxes = np.zeros((len(steps), 7))
    boxes[known] = boxes_from_world(
        infos.object_centre[rows[known]],
        infos.object_angle[rows[known]],
        infos.object_extent[rows[known]],
        info['world_from_ego'],
    )
    centre = boxes[:, :3] + boxes[:, 5:6] * [0, 0, 0.5]
    return dict(centre=centre, yaw=boxes[:, 6], known=known)


def save_objects(path: str, database: ObjectDatabase) -> None:
    """Write a database; a file of that name is replaced only once the new one is whole.

    Raises:
        DataFileError: :func:`load_objects` would refuse it; nothing is written.
    """
    _check(path, database, 'it is not written')
    write_archive(path, _FORMAT, _VERSION, vars(database))


def load_objects(path: str, backend_args: dict | None = None) -> ObjectDatabase:
    """Read a database.

    Raises:
        DataFileError: the file is missing, damaged, of another format or of another version.
    """
    remedy = "make it anew with 'python tools/create_object_database.py CONFIG'"
    found = read_archive(path, _FORMAT, _VERSION, _COLUMNS, remedy, backend_args)
    database = ObjectDatabase(**found)
    _check(path, database, remedy)
    return database


def _check(path: str, database: ObjectDatabase, remedy: str) -> None:
    """Refuse arrays that are not as they must be."""
    check_columns(path, _COLUMNS, vars(database), remedy)
    classes, offsets = len(database.class_names), database.time_offsets
    runs = check_runs(database.begin, len(database.points))
    for key, good, expected in (
        ('label', len(database.label), 'expected at least one object'),
        ('label', (database.label < classes).all(), f'expected 0 to {classes - 1}'),
        ('time_offsets', (offsets[1:] > offsets[:-1]).all(), 'expected an ascending order'),
        ('time_offsets', (offsets == 0).any(), 'expected 0, the current step, among them'),
        ('known', database.known[:, offsets == 0].all(), 'expected all objects at offset 0'),
        ('begin', runs is None, runs),
    ):
        if not good:
            raise DataFileError(path, f'key {key!r}: {expected}; {remedy}')
