"""Cooperative labels of DAIR-V2X-C and V2X-Seq: one JSON list of boxes for each pair of frames.

DAIR-V2X-C gives eight corners in the world; its other keys are not valid there. V2X-Seq gives a
centre, full sizes and a yaw in the vehicle's LiDAR frame at the time of the vehicle's cloud.
"""

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...structures import pose_to_matrix
from .dialects import DairDialect
from .errors import DataFileError, shown
from .json_file import finite_number, load_json, member

__all__ = ['MAX_OBJECTS', 'DairLabels', 'read_cooperative_labels']

MAX_OBJECTS = 2**16  # of a file

# As the authors' pages write them; files have them in any case.
_TYPES = {
    name.lower(): name
    for name in (
        'Car', 'Truck', 'Van', 'Bus', 'Pedestrian', 'Cyclist', 'Tricyclist', 'Motorcyclist',
        'Barrowlist', 'TrafficCone',
    )
}  # fmt: skip
_TYPE = re.compile(r'[A-Za-z][A-Za-z0-9_ -]{0,63}')
_TRACK = re.compile(r'[0-9]{1,15}')
_NO_TRACK = ('', '-1', -1, None)
# Corners in the object's frame, in half sizes: 0 to 3 at the bottom, 0 to 3 backwards, 0 to 1 to
# the right, 4 to 7 on top of them.
_CORNERS = np.array(
    [[1, 1, -1], [1, -1, -1], [-1, -1, -1], [-1, 1, -1],
     [1, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, 1]], dtype=np.float64
)  # fmt: skip
_CROOKED = 0.1  # by how much of its longest side a box may miss its corners; our choice


@dataclass(frozen=True)
class DairLabels:
    """The boxes of one file, in the frame that the dialect's ``labels`` names.

    Attributes:
        keys: the M objects' places in the file, from ``'0'``.
        tracks: M track ids; None where the object has none.
        types: M raw class names.
        poses: (M, 4, 4) ``frame_from_object``, at the boxes' centres.
        sizes: (M, 3) full length, width and height, metres; 0 of what has no size.
    """

    keys: list[str]
    tracks: list[int | None]
    types: list[str]
    poses: np.ndarray
    sizes: np.ndarray


def read_cooperative_labels(
    path: str,
    dialect: DairDialect,
    backend_args: dict | None = None,
    skip: Container[str] = (),
    bad: dict[str, str] | None = None,
) -> DairLabels:
    """Read a file of cooperative labels.

    Args:
        path: the file.
        dialect: which of the two sets it is of.
        backend_args: where mmengine's fileio finds it; local disk by default.
        skip: places of objects to leave unread, as in :attr:`DairLabels.keys`.
        bad: see :func:`~.annotation.read_annotation`.

    Raises:
        DataFileError: the file is missing, is no JSON list, or an object lacks a key or has a value
            that cannot be.
    """
    read = _box_of_corners if dialect.labels == 'world' else _box_of_centre
    columns: tuple[list, ...] = ([], [], [], [], [])
    entries = load_json(path, list, backend_args)
    if len(entries) > MAX_OBJECTS:
        raise DataFileError(path, f'has {len(entries)} objects, expected {MAX_OBJECTS} at most')
    for place, entry in enumerate(entries):
        key = str(place)
        if key in skip:
            continue
        try:
            where = f'[{place}].'
            row = (
                key,
                _track(path, entry, where) if dialect.tracks else None,
                _type(path, entry, where),
                *read(path, entry, where),
            )
        except DataFileError as error:
            if bad is None:
                raise
            bad[key] = error.problem
        else:
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    keys, tracks, types, poses, sizes = columns
    return DairLabels(
        keys, tracks, types, np.reshape(poses, (-1, 4, 4)), np.reshape(sizes, (-1, 3))
    )


def _type(path: str, entry: Any, where: str) -> str:
    value = member(path, entry, 'type', where)
    if not isinstance(value, str) or not _TYPE.fullmatch(value):
        raise DataFileError(
            path, f"key '{where}type': expected a class name of letters, got {shown(value)}"
        )
    return _TYPES.get(value.lower(), value)


def _track(path: str, entry: Any, where: str) -> int | None:
    value = member(path, entry, 'track_id', where)
    if isinstance(value, (str, int, type(None))) and value in _NO_TRACK:
        return None
    if isinstance(value, bool) or not _TRACK.fullmatch(str(value)):
        raise DataFileError(
            path, f"key '{where}track_id': expected a whole number, got {shown(value)}"
        )
    return int(value)


def _box_of_centre(path: str, entry: Any, where: str) -> tuple[np.ndarray, list[float]]:
    x, y, z = _numbers(path, entry, '3d_location', 'xyz', where)
    sizes = _numbers(path, entry, '3d_dimensions', 'lwh', where)
    (yaw,) = _numbers(path, entry, '', ('rotation',), where)
    if min(sizes) < 0:
        raise DataFileError(path, f"key '{where}3d_dimensions': expected no size below 0")
    return pose_to_matrix([x, y, z, 0.0, np.rad2deg(yaw), 0.0]), sizes


def _numbers(path: str, entry: Any, key: str, names: str | tuple, where: str) -> list[float]:
    inner, prefix = (member(path, entry, key, where), f'{where}{key}.') if key else (entry, where)
    found = []
    for name in names:
        value = member(path, inner, name, prefix)
        number = finite_number(value)
        if number is None:
            raise DataFileError(
                path, f"key '{prefix}{name}': expected a finite number, got {shown(value)}"
            )
        found.append(number)
    return found


def _box_of_corners(path: str, entry: Any, where: str) -> tuple[np.ndarray, list[float]]:
    value = member(path, entry, 'world_8_points', where)
    rows = value if isinstance(value, list) and len(value) == 8 else []
    numbers = [
        finite_number(v) for row in rows if isinstance(row, list) and len(row) == 3 for v in row
    ]
    if len(numbers) != 24 or None in numbers:
        raise DataFileError(
            path,
            f"key '{where}world_8_points': expected 8 corners of 3 finite numbers, got "
            f'{shown(value)}',
        )
    corners = np.reshape(np.array(numbers, dtype=np.float64), (8, 3))
    centre = corners.mean(axis=0)
    edges = (corners - centre).T @ _CORNERS / 8  # of half a size along each of the box's axes
    sizes = 2 * np.linalg.norm(edges, axis=0)
    pose = np.eye(4)
    pose[:3, 3] = centre
    if sizes.min() < 1e-9:
        return pose, [0.0, 0.0, 0.0]
    axes = edges / (sizes / 2)
    u, _, vt = np.linalg.svd(axes)
    pose[:3, :3] = u @ vt
    missed = np.abs((_CORNERS * sizes / 2) @ pose[:3, :3].T + centre - corners).max()
    upright = np.linalg.det(pose[:3, :3]) > 0 and pose[2, 2] > 0
    if missed > _CROOKED * sizes.max() or not upright:
        raise DataFileError(
            path,
            f"key '{where}world_8_points': expected the corners of a box, front left below "
            f'first, they are off by {missed:.3g} m',
        )
    return pose, sizes.tolist()
