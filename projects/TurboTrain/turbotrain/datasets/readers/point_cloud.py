"""LiDAR point clouds."""

import os

import numpy as np
from mmengine.fileio import get

from .errors import DataFileError

__all__ = ['read_point_cloud']

_FIELDS = 4
_BYTES_PER_POINT = 4 * _FIELDS


def read_point_cloud(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Read a ``.bin`` cloud: little-endian float32 x, y, z (m), intensity.

    Rows with a non-finite coordinate, which real recordings contain, are dropped; a non-finite
    intensity becomes 0.

    Args:
        path: the file.
        backend_args: where mmengine's fileio finds it; local disk by default.

    Returns:
        (P, 4) float32, a new and writable array.

    Raises:
        DataFileError: the file is missing, empty, or not a whole number of points.
    """
    if not path.endswith('.bin'):
        raise DataFileError(path, f"expected a '.bin' cloud, got {os.path.splitext(path)[1]!r}")
    try:
        if backend_args is None:
            with open(path, 'rb') as file:
                content = file.read()
        else:
            content = get(path, backend_args=backend_args)
    except OSError as error:
        raise DataFileError(path, f'cannot be read ({error.strerror or error})') from error
    if not content:
        raise DataFileError(path, 'is empty; expected float32 rows of x, y, z, intensity')
    if len(content) % _BYTES_PER_POINT:
        raise DataFileError(
            path,
            f'has {len(content)} bytes, expected a multiple of {_BYTES_PER_POINT} (float32 rows '
            'of x, y, z, intensity): the file is truncated or of another format',
        )
    points = np.frombuffer(content, dtype='<f4').reshape(-1, _FIELDS)
    points = points[np.isfinite(points[:, :3]).all(axis=1)].astype(np.float32)
    np.nan_to_num(points[:, 3], copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return points
