"""Annotation YAML of one agent at one time, in the OpenCOOD family's layout."""

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...structures import as_pose, matrix_to_pose, pose_to_matrix
from .dialects import DIALECTS, Dialect
from .errors import DataFileError, said, shown
from .files import read_bytes
from .yaml_loader import load_yaml

__all__ = ['LONE_IDS', 'TINY', 'Annotation', 'load_annotation', 'read_annotation', 'read_pose']

_HUGE = 1e12  # what no place or angle is; false for NaN as well
TINY = 1e-6  # m, what no half size is; float32, in which info files have it, still holds it
_INTEGER = re.compile('-?[0-9]{1,19}')
_MAX_ID = 2**60
_MAX_NAME = 64  # of a class: arrays of names give each the room of the longest
# Objects that one agent alone sees: a range of ids for each agent (of 9 digits at most), all of
# them within int64 and beyond every other id.
LONE_IDS, _MAX_LONE_ID = 2**62, 2**30
_MIRROR_Y = np.diag([1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Annotation:
    """What one agent's YAML says of one moment; all in the world frame, right-handed, z up.

    Attributes:
        world_from_agent: (4, 4) float64 pose of the LiDAR.
        keys: the M objects' keys in the file.
        ids: (M,) int64 object ids, shared by all agents and frames of a scenario.
        types: M raw class names.
        centres: (M, 3) box centres, metres.
        angles: (M, 3) ``[roll, yaw, pitch]``, degrees.
        extents: (M, 3) half length, width and height, metres.
    """

    world_from_agent: np.ndarray
    keys: list[str]
    ids: np.ndarray
    types: list[str]
    centres: np.ndarray
    angles: np.ndarray
    extents: np.ndarray


def read_annotation(
    path: str,
    dialect: Dialect = DIALECTS['v2xpnp'],
    agent: int = 0,
    backend_args: dict | None = None,
    skip: Container[str] = (),
    bad: dict[str, str] | None = None,
    labels: bool = True,
) -> Annotation:
    """Read an annotation file.

    Args:
        path: the file.
        dialect: how the dataset writes poses and objects.
        agent: id of the agent whose file it is, below 2^30.
        backend_args: where mmengine's fileio finds it; local disk by default.
        skip: keys of objects to leave unread.
        bad: gets the problem of each object that is not as it must be, by its key, and the object
            is left out; without it, such an object is an error.
        labels: whether to read objects; if not, the file need not have any.

    Raises:
        DataFileError: the file is missing, is no YAML, lacks a key, or a value has not the type
            and length it must have.
    """
    content = load_annotation(path, backend_args)
    world_from_agent = read_pose(path, content, 'lidar_pose')
    # An empty mapping is written {}; nothing at all is the end of a file that was cut off.
    vehicles = content.get('vehicles', _MISSING) if labels else {}
    if not isinstance(vehicles, dict):
        found = 'it is missing' if vehicles is _MISSING else f'got {shown(vehicles)}'
        raise DataFileError(path, f"key 'vehicles': expected a mapping of objects by id, {found}")

    keys, ids, types, rows = [], [], [], []
    known: dict[int, str] = {}
    for key, entry in vehicles.items():
        if key in skip:
            continue
        try:
            found = _object(path, key, entry, dialect, agent)
            other = known.setdefault(found[0], key)
            if other is not key:
                raise DataFileError(
                    path,
                    f"key 'vehicles.{key:.60}': stands for object {found[0]}, as key "
                    f"'vehicles.{other:.60}' does; expected an id of its own",
                )
        except DataFileError as error:
            if bad is None:
                raise
            bad[key] = error.problem
        else:
            keys.append(key)
            for column, value in zip((ids, types, rows), found, strict=True):
                column.append(value)
    table = np.array(rows, dtype=np.float64).reshape(-1, 12)
    poses = np.concatenate([table[:, :3] + table[:, 3:6], table[:, 6:9]], axis=1)
    if dialect.objects_in_agent:
        poses = matrix_to_pose(world_from_agent @ pose_to_matrix(poses))
    if dialect.left_handed:
        world_from_agent = _MIRROR_Y @ world_from_agent @ _MIRROR_Y
        # y, roll and yaw change their sign in the mirror; pitch does not.
        poses = poses * [1, -1, 1, -1, -1, 1]
    return Annotation(
        world_from_agent=world_from_agent,
        keys=keys,
        ids=np.array(ids, dtype=np.int64),
        types=types,
        centres=poses[:, :3],
        angles=poses[:, 3:],
        extents=table[:, 9:],
    )


_MISSING = object()


def load_annotation(path: str, backend_args: dict | None = None) -> dict[str, Any]:
    """An annotation file's content as it stands there.

    Raises:
        DataFileError: the file is missing, is no YAML, or holds no mapping.
    """
    text = bytes(read_bytes(path, backend_args))
    try:
        content = load_yaml(text)
    except Exception as error:  # damaged scalars can raise nearly anything in PyYAML
        raise DataFileError(path, f'is not valid YAML ({said(error)})') from error
    if not isinstance(content, dict):
        raise DataFileError(path, f'expected a mapping at the top, got {type(content).__name__}')
    return content


def read_pose(path: str, mapping: dict, key: str, where: str = '') -> np.ndarray:
    """A pose: six numbers, or a 4x4 matrix as a list of rows or an array.

    Args:
        path: the file, for the error.
        mapping: what has the key.
        key: the key.
        where: what the mapping is in the file, such as ``'cam1.'``, for the error.

    Returns:
        (4, 4) float64.

    Raises:
        DataFileError: the key is missing, or is no pose.
    """
    value = mapping.get(key, _MISSING)
    expected = '6 finite numbers [x, y, z, roll, yaw, pitch] or a rigid 4x4 matrix'
    if value is _MISSING:
        raise DataFileError(path, f'key {where + key!r} is missing; expected {expected}')
    pose = as_pose(_array(value))
    if pose is None:
        raise DataFileError(path, f'key {where + key!r}: expected {expected}, got {shown(value)}')
    return pose


def _object(
    path: str, key: str, entry: Any, dialect: Dialect, agent: int
) -> tuple[int, str, list[float]]:
    """An object's id, its raw class, and its location, center, angle and extent."""
    where = f'vehicles.{key:.60}'
    if not isinstance(entry, dict):
        raise DataFileError(path, f'key {where!r}: expected a mapping, got {shown(entry)}')
    row = [
        number
        for name in ('location', 'center', 'angle', 'extent')
        for number in _numbers(path, entry, name, 3, where)
    ]
    if min(row[-3:]) < TINY:
        raise DataFileError(
            path, f"key '{where}.extent': expected half sizes above 0, got {row[-3:]}"
        )
    kind = _object_type(path, entry, where, dialect)
    return _object_id(path, key, entry, dialect, agent), kind, row


def _array(value: Any) -> np.ndarray:
    """6 numbers or 4 rows of 4, in lists or an array; no numbers at all if it is neither."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64) if value.dtype.kind in 'iuf' else np.empty(0)
    rows = value if isinstance(value, list) and len(value) == 4 else [value]
    lists = all(isinstance(row, list) and len(row) == (4 if len(rows) == 4 else 6) for row in rows)
    if not lists or not all(_is_number(v) and abs(v) < _HUGE for row in rows for v in row):
        return np.empty(0)
    return np.array(value, dtype=np.float64)


def _object_id(path: str, key: str, entry: dict, dialect: Dialect, agent: int) -> int:
    """The id that tells an object apart from all others that the scenario's agents see."""
    where = f'vehicles.{key:.60}'
    if not _INTEGER.fullmatch(key):
        raise DataFileError(path, f'key {where!r}: an object id must be an integer')
    found, limit = int(key), _MAX_ID
    if dialect.association_ids and 'ass_id' in entry:
        shared = entry['ass_id']
        if not _is_number(shared, int):
            raise DataFileError(
                path, f"key '{where}.ass_id': expected an integer, got {shown(shared)}"
            )
        if shared == -1:
            limit = _MAX_LONE_ID
        else:
            found = shared
    if abs(found) >= limit:
        raise DataFileError(path, f'key {where!r}: an object id of that size is no id')
    return found if limit == _MAX_ID else LONE_IDS + 2 * _MAX_LONE_ID * agent + found


def _is_number(value: Any, kind: type | tuple = (int, float)) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _object_type(path: str, entry: dict, where: str, dialect: Dialect) -> str:
    kind = entry.get('obj_type', dialect.default_type)
    if not isinstance(kind, str) or len(kind) > _MAX_NAME or '\0' in kind:
        raise DataFileError(
            path,
            f"key '{where}.obj_type': expected a class name of at most {_MAX_NAME} letters, got "
            f'{shown(kind)}',
        )
    return kind


def _numbers(path: str, mapping: dict, key: str, count: int, where: str) -> list[float]:
    """The ``count`` finite numbers under ``key``."""
    name = f'{where}.{key}'
    value: Any = mapping.get(key, _MISSING)
    if value is _MISSING:
        raise DataFileError(path, f'key {name!r} is missing; expected {count} numbers')
    if isinstance(value, np.ndarray):
        value = value.tolist()
    good = (
        isinstance(value, list)
        and len(value) == count
        and all(_is_number(v) and abs(v) < _HUGE for v in value)
    )
    if not good:
        raise DataFileError(
            path, f'key {name!r}: expected {count} finite numbers, got {shown(value)}'
        )
    return [float(v) for v in value]
