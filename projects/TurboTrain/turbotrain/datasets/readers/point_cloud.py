"""LiDAR point clouds: ``.bin`` (V2XPnP-Seq, V2X-Real) and ``.pcd`` (OPV2V, V2XSet, V2V4Real)."""

import os
import string

import numpy as np

from ..point_kernels import keep_finite
from .cloud_layout import misread_layout
from .errors import DataFileError
from .files import read_bytes
from .pcd import parse_pcd

__all__ = ['CLOUD_SUFFIXES', 'read_point_cloud', 'usable_points']

CLOUD_SUFFIXES = ('.bin', '.pcd')  # in the order of preference
_FIELDS = 4
_BYTES_PER_POINT = 4 * _FIELDS
_LIMIT = 1e5  # m; no LiDAR sees that far, while bytes of any other kind soon give such numbers
_TEXT = string.printable.encode()
_EXPECTED = 'expected float32 rows of x, y, z, intensity'


def read_point_cloud(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Read a cloud.

    Rows with a non-finite coordinate, which real recordings contain, are dropped; a non-finite
    intensity becomes 0.

    Args:
        path: the file: ``.bin``, little-endian float32 x, y, z (m), intensity; or ``.pcd``, ascii,
            binary or binary_compressed, with its intensity in a field of that or a like name, or
            in the red byte of a packed ``rgb`` (as 0 to 1), or none (0, with a warning).
        backend_args: where mmengine's fileio finds it; local disk by default.

    Returns:
        (P, 4) float32, a new and writable array.

    Raises:
        DataFileError: the file is missing, empty, truncated, of another format, clearly has other
            columns than these, or has coordinates beyond 100 km.
    """
    suffix = os.path.splitext(path)[1]
    if suffix not in CLOUD_SUFFIXES:
        raise DataFileError(path, f"expected a '.bin' or '.pcd' cloud, got {suffix!r}")
    content = read_bytes(path, backend_args)
    if not content:
        raise DataFileError(path, f'is empty; {_EXPECTED}')
    points = _parse_bin(path, content) if suffix == '.bin' else parse_pcd(path, content)
    return usable_points(path, points)


def usable_points(name: str, points: np.ndarray) -> np.ndarray:
    """The rows of (P, 4) float32 points that are finite, moved to the front of the same memory.

    Args:
        name: how an error calls them.
        points: of x, y, z (m), intensity.

    Raises:
        DataFileError: a coordinate is beyond 100 km.
    """
    kept = keep_finite(points, _LIMIT)
    if kept < 0:
        raise DataFileError(name, f'has coordinates beyond {_LIMIT:.0f} m; {_EXPECTED} in metres')
    return points[:kept]


def _parse_bin(path: str, content: memoryview) -> np.ndarray:
    if not bytes(content[:64]).translate(None, _TEXT):
        raise DataFileError(path, f'holds text, {bytes(content[:40])!r}; {_EXPECTED}')
    layout = misread_layout(content)
    if layout:
        raise DataFileError(
            path, f'holds {layout}, as its numbers show; {_EXPECTED}: convert the clouds to these'
        )
    if len(content) % _BYTES_PER_POINT:
        raise DataFileError(
            path,
            f'has {len(content)} bytes, expected a multiple of {_BYTES_PER_POINT} (float32 rows '
            'of x, y, z, intensity): the file is truncated or of another format',
        )
    return np.frombuffer(content, dtype='<f4').reshape(-1, _FIELDS)
