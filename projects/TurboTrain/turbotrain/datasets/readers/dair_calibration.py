"""Where the two sides of DAIR-V2X-C and V2X-Seq stand: calibration files, and chains of them.

Matrices are (4, 4) float64 and named by their frames: ``world_from_vehicle @ p_vehicle = p_world``.
``vehicle`` is the vehicle's LiDAR (x forward, y left, z up) and ``novatel`` its inertial unit.
``unit`` is the roadside unit's *virtual* LiDAR, in whose frame its clouds lie. The world is a local
one with x and y of some kilometres.

Both sets correct each pair of frames by ``system_error_offset``, metres in x and y. DAIR-V2X-C adds
it in the **world**, V2X-Seq in the **vehicle's LiDAR frame** behind the whole chain. The other
set's rule is wrong by as much as a metre.

Source: AIR-THU/DAIR-V2X, ``transformation_utils`` and ``docs/apis/dataloaders_spd.md`` (from their
description).
"""

from typing import Any, NamedTuple

import numpy as np

from ...structures import invert_rigid
from .errors import DataFileError, shown
from .json_file import finite_number, load_json, member

__all__ = [
    'CORRECTIONS',
    'UnitPose',
    'read_intrinsics',
    'read_offset',
    'read_transform',
    'read_unit_pose',
    'world_from_vehicle',
]

_SKEW = 1e-3  # of R R^T from the identity; real files have 2e-5


class UnitPose(NamedTuple):
    """A roadside unit's calibration.

    Attributes:
        world_from_unit: (4, 4) as the file has it, before any correction.
        relative_error: (2,) m, the correction that the file itself names; 0 where it names none.
    """

    world_from_unit: np.ndarray
    relative_error: tuple[float, float]


def world_from_vehicle(
    novatel_from_vehicle: np.ndarray, world_from_novatel: np.ndarray
) -> np.ndarray:
    """The pose of the vehicle's LiDAR, of its mounting and the pose of its inertial unit."""
    return world_from_novatel @ novatel_from_vehicle


def corrected_in_world(
    world_from_vehicle: np.ndarray, world_from_unit: np.ndarray, offset: tuple[float, float]
) -> np.ndarray:
    """``vehicle_from_unit`` of DAIR-V2X-C, whose offsets (m) are along the world's axes."""
    return invert_rigid(world_from_vehicle) @ _shift(offset) @ world_from_unit


def corrected_in_vehicle(
    world_from_vehicle: np.ndarray, world_from_unit: np.ndarray, offset: tuple[float, float]
) -> np.ndarray:
    """``vehicle_from_unit`` of V2X-Seq, whose offsets (m) are along the vehicle's LiDAR's axes."""
    return _shift(offset) @ invert_rigid(world_from_vehicle) @ world_from_unit


CORRECTIONS = dict(world=corrected_in_world, vehicle=corrected_in_vehicle)
"""The chains by the frame that their offsets lie in, as ``DairDialect.correction`` names it."""


def read_transform(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Read ``lidar_to_novatel``, ``novatel_to_world`` and their like; X_to_Y maps X into Y.

    Returns:
        (4, 4), its rotation made exactly orthogonal.

    Raises:
        DataFileError: the file is missing or damaged, or its rotation is none.
    """
    return _transform(path, load_json(path, dict, backend_args))


def read_unit_pose(path: str, backend_args: dict | None = None) -> UnitPose:
    """Read ``virtuallidar_to_world``.

    Raises:
        DataFileError: see :func:`read_transform`.
    """
    content = load_json(path, dict, backend_args)
    error = content.get('relative_error', '')
    return UnitPose(_transform(path, content), read_offset(path, 'relative_error', error))


def read_intrinsics(path: str, backend_args: dict | None = None) -> tuple[str, np.ndarray]:
    """Read ``camera_intrinsic``: ``cam_K`` (9), or else ``P`` (12), as the authors' tools do.

    Returns:
        The key, and (3, 3) numbers.

    Raises:
        DataFileError: the file is missing or damaged, or has neither.
    """
    content = load_json(path, dict, backend_args)
    key, columns = ('cam_K', 3) if 'cam_K' in content else ('P', 4)
    value = member(path, content, key)
    rows = value if isinstance(value, list) else []
    flat = [v for row in rows for v in (row if isinstance(row, list) else [row])]
    numbers = [finite_number(v) for v in flat[:13]]
    if len(numbers) != 3 * columns or None in numbers:
        raise DataFileError(
            path, f'key {key!r}: expected {3 * columns} finite numbers, got {shown(value)}'
        )
    return key, np.array(numbers, dtype=np.float64).reshape(3, columns)[:, :3]


def read_offset(path: str, key: str, value: Any) -> tuple[float, float]:
    """``delta_x`` and ``delta_y``, metres; ``''`` stands for 0, for each of them or for both.

    Raises:
        DataFileError: the value is neither.
    """
    if value in ('', None):
        return 0.0, 0.0
    found = []
    for name in ('delta_x', 'delta_y'):
        delta = member(path, value, name, f'{key}.')
        number = 0.0 if delta == '' else finite_number(delta)
        if number is None or abs(number) > 100.0:
            raise DataFileError(
                path, f"key '{key}.{name}': expected metres or '', got {shown(delta)}"
            )
        found.append(number)
    return found[0], found[1]


def _transform(path: str, content: dict) -> np.ndarray:
    inner = content.get('transform', content)
    prefix = 'transform.' if inner is not content else ''
    matrix = np.eye(4)
    matrix[:3, :3] = _numbers(path, inner, 'rotation', (3, 3), prefix)
    matrix[:3, 3] = _numbers(path, inner, 'translation', (3, 1), prefix)[:, 0]
    rotation = matrix[:3, :3]
    skew = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if skew > _SKEW or np.linalg.det(rotation) < 0:
        raise DataFileError(
            path, f"key '{prefix}rotation': expected a rotation, it is off by {skew:.3g}"
        )
    u, _, vt = np.linalg.svd(rotation)
    matrix[:3, :3] = u @ vt
    return matrix


def _numbers(path: str, mapping: Any, key: str, shape: tuple[int, int], prefix: str) -> np.ndarray:
    value = member(path, mapping, key, prefix)
    rows = value if isinstance(value, list) and len(value) == shape[0] else []
    rows = [row if isinstance(row, list) else [row] for row in rows]
    numbers = [finite_number(v) for row in rows if len(row) == shape[1] for v in row]
    if len(numbers) != shape[0] * shape[1] or None in numbers:
        raise DataFileError(
            path,
            f"key '{prefix}{key}': expected {shape[0]} rows of {shape[1]} finite numbers, got "
            f'{shown(value)}',
        )
    return np.array(numbers, dtype=np.float64).reshape(shape)


def _shift(offset: tuple[float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, 3] = offset
    return matrix
