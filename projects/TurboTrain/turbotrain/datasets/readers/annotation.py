"""Annotation YAML of one agent at one time, in the OpenCOOD family's layout."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from .errors import DataFileError

__all__ = ['Annotation', 'read_annotation']

_Base = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class _Loader(_Base):
    """PyYAML's safe loader, with floats such as ``1e-05`` read as floats."""


_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(r'^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)$|^[-+]?\d[\d_]*\.[\d_]*$'),
    list('-+0123456789.'),
)


@dataclass(frozen=True)
class Annotation:
    """What one agent's YAML says of one moment; all in the world frame.

    Attributes:
        lidar_pose: (6,) ``[x, y, z, roll, yaw, pitch]``, metres and degrees.
        ids: (M,) int64 object ids, shared by all agents and frames of a scenario.
        types: M raw class names.
        centres: (M, 3) box centres (``location + center``), metres.
        angles: (M, 3) ``[roll, yaw, pitch]``, degrees.
        extents: (M, 3) half length, width and height, metres.
    """

    lidar_pose: np.ndarray
    ids: np.ndarray
    types: list[str]
    centres: np.ndarray
    angles: np.ndarray
    extents: np.ndarray


def read_annotation(path: str) -> Annotation:
    """Read an annotation file.

    Raises:
        DataFileError: the file is missing, is no YAML, lacks a key, or a value has not the type
            and length it must have.
    """
    try:
        with open(path, 'rb') as file:
            content = yaml.load(file, Loader=_Loader)
    except OSError as error:
        raise DataFileError(path, f'cannot be read ({error.strerror})') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataFileError(path, f'is not valid YAML ({error})') from error
    if not isinstance(content, dict):
        raise DataFileError(path, f'expected a mapping at the top, got {type(content).__name__}')

    pose = _numbers(path, content, 'lidar_pose', 6)
    vehicles = content.get('vehicles', _MISSING)
    if vehicles is _MISSING:
        raise DataFileError(path, "key 'vehicles' is missing; expected a mapping of objects by id")
    vehicles = vehicles or {}
    if not isinstance(vehicles, dict):
        raise DataFileError(path, f"key 'vehicles': expected a mapping, got {vehicles!r:.60}")

    ids, types, rows = [], [], []
    for key, entry in vehicles.items():
        where = f'vehicles.{key}'
        try:
            ids.append(int(key))
        except (TypeError, ValueError):
            raise DataFileError(path, f'key {where!r}: an object id must be an integer') from None
        if not isinstance(entry, dict):
            raise DataFileError(path, f'key {where!r}: expected a mapping, got {entry!r:.60}')
        if not isinstance(entry.get('obj_type'), str):
            raise DataFileError(path, f"key '{where}.obj_type': expected a class name")
        types.append(entry['obj_type'])
        rows.append(
            _numbers(path, entry, 'location', 3, where)
            + _numbers(path, entry, 'center', 3, where)
            + _numbers(path, entry, 'angle', 3, where)
            + _numbers(path, entry, 'extent', 3, where)
        )
    table = np.array(rows, dtype=np.float64).reshape(-1, 12)
    return Annotation(
        lidar_pose=np.array(pose),
        ids=np.array(ids, dtype=np.int64),
        types=types,
        centres=table[:, :3] + table[:, 3:6],
        angles=table[:, 6:9],
        extents=table[:, 9:],
    )


_MISSING = object()


def _numbers(path: str, mapping: dict, key: str, count: int, where: str = '') -> list[float]:
    """The ``count`` finite numbers under ``key``."""
    name = f'{where}.{key}' if where else key
    value: Any = mapping.get(key, _MISSING)
    if value is _MISSING:
        raise DataFileError(path, f'key {name!r} is missing; expected {count} numbers')
    good = (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(v, (int, float)) and math.isfinite(v) for v in value)
    )
    if not good:
        raise DataFileError(
            path, f'key {name!r}: expected {count} finite numbers, got {value!r:.80}'
        )
    return [float(v) for v in value]
