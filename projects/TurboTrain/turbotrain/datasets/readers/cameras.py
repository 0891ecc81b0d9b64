"""Cameras of one agent at one time: where their pictures are, and how points get into them.

They are read where they are asked for, by the path of the agent's cloud; info files know nothing of
them. A camera's frame has x to the right of the picture, y down and z ahead, metres. The middle of
a picture's first pixel is the image point (0, 0), as in OpenCV.

Lens distortion is not undone: the OpenCOOD family names none, and the tools of DAIR-V2X's authors
do not use theirs (``cam_D``).
"""

import io
import os
import re
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ...errors import SettingError
from ...structures import invert_rigid
from .annotation import load_annotation, read_pose
from .dair_calibration import read_intrinsics, read_transform
from .dialects import DairDialect, Dialect
from .errors import DataFileError, MissingFileError, said, shown
from .files import read_bytes
from .json_file import member

__all__ = ['EXTRINSICS', 'Camera', 'read_cameras', 'read_image']

EXTRINSICS = ('lidar_from_camera', 'camera_from_lidar', 'world_from_camera')
"""What ``extrinsic`` of an annotation may stand for; ``Dialect.extrinsic`` is the default."""
_MAX_PIXELS = 2**25  # of a picture; recorded ones have 2 million
_ENDINGS = ('.jpeg', '.jpg', '.png')
_MIRROR_Y = np.diag([1.0, -1.0, 1.0, 1.0])
# CARLA's cameras have x ahead, y to the right and z up.
_OPTICAL_FROM_CARLA = np.array(
    [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
_FAR = 20.0  # m, from the LiDAR to a camera of the same agent
_UPRIGHT = 0.2  # of a picture's downward axis along the LiDAR's; 78 degrees of tilt
_APART = re.compile('(.*)-(vehicle|infrastructure)-side-velodyne')
_ARCHIVES = ('cooperative-vehicle-infrastructure', 'V2X-Seq-SPD')


class Camera(NamedTuple):
    """One camera at one time.

    Attributes:
        name: as the dataset calls it.
        images: where its picture may be; the first that is there counts.
        intrinsics: (3, 3) float64, pixels.
        camera_from_lidar: (4, 4) float64, from the agent's right-handed LiDAR frame.
    """

    name: str
    images: tuple[str, ...]
    intrinsics: np.ndarray
    camera_from_lidar: np.ndarray


def read_cameras(
    cloud: str, dialect: Dialect, extrinsic: str | None = None, backend_args: dict | None = None
) -> list[Camera]:
    """The cameras of an agent at the time of one of its clouds, by their numbers.

    Args:
        cloud: path of the cloud.
        dialect: how the dataset writes them.
        extrinsic: what the matrices of that name are, one of ``EXTRINSICS``; None is for what the
            dialect says.
        backend_args: where mmengine's fileio finds the files; local disk by default.

    Raises:
        DataFileError: there is no camera, or a calibration is missing, damaged or cannot be.
        SettingError: the dataset has no cameras, or does not leave open what its matrices are.
    """
    if extrinsic not in (None, *EXTRINSICS):
        raise SettingError(f'extrinsic must be one of {EXTRINSICS}, got {extrinsic!r}')
    if isinstance(dialect, DairDialect):
        if extrinsic is not None:
            raise SettingError('extrinsic: DAIR-V2X and V2X-Seq say what their matrices are')
        return [_read_dair_camera(cloud, backend_args)]
    if not dialect.camera_key:
        raise SettingError('this dataset has no cameras in its annotations')
    stem = os.path.splitext(cloud)[0]
    path = f'{stem}.yaml'
    content = load_annotation(path, backend_args)
    keys = [key for key in content if re.fullmatch(dialect.camera_key, key)]
    if not keys:
        raise DataFileError(path, f'has no camera; expected keys like {dialect.camera_key!r}')
    reading = extrinsic or dialect.extrinsic
    return [
        _read_camera(path, content, key, stem, dialect.left_handed, reading)
        for key in sorted(keys, key=lambda key: (len(key), key))
    ]


def read_image(camera: Camera, backend_args: dict | None = None) -> np.ndarray:
    """A camera's picture, (H, W, 3) uint8, red first.

    Raises:
        DataFileError: the file is missing, or is no picture.
    """
    for path in camera.images:
        try:
            content = read_bytes(path, backend_args)
        except MissingFileError:
            continue
        return _decode(path, content)
    others = ' and '.join(camera.images[1:])
    raise MissingFileError(camera.images[0], f'is missing, and so is {others}')


def _decode(path: str, content: memoryview) -> np.ndarray:
    """A picture of bounded size; OpenCV would fill the end of a cut file with grey."""
    try:
        with Image.open(io.BytesIO(content), formats=['JPEG', 'PNG']) as picture:
            width, height = picture.size
            if width * height > _MAX_PIXELS:
                raise ValueError(f'{width} x {height} pixels are more than {_MAX_PIXELS}')
            return np.array(picture.convert('RGB'))
    except Exception as error:  # of a damaged file nearly anything
        problem = f'is no whole JPEG or PNG picture ({said(error)}); get it anew'
        raise DataFileError(path, problem) from error


def _read_camera(
    path: str, content: dict, key: str, stem: str, left_handed: bool, reading: str
) -> Camera:
    """A camera of the OpenCOOD family's annotation."""
    entry = content[key]
    if not isinstance(entry, dict):
        raise DataFileError(path, f'key {key!r}: expected a mapping, got {shown(entry)}')
    given = read_pose(path, entry, 'extrinsic', f'{key}.')
    if reading == 'world_from_camera':
        given = invert_rigid(read_pose(path, content, 'lidar_pose')) @ given
    camera_from_lidar = given if reading == 'camera_from_lidar' else invert_rigid(given)
    if left_handed:
        camera_from_lidar = _OPTICAL_FROM_CARLA @ camera_from_lidar @ _MIRROR_Y
    others = ' or '.join(name for name in EXTRINSICS if name != reading)
    hint = f'; it was read as {reading}, and {others} would be another reading'
    _check_place(path, f'{key}.extrinsic', camera_from_lidar, hint)
    intrinsic = member(path, entry, 'intrinsic', f'{key}.')
    intrinsics = _intrinsics_of(path, f'{key}.intrinsic', intrinsic)
    images = tuple(f'{stem}_{key}{ending}' for ending in _ENDINGS)
    return Camera(key, images, intrinsics, camera_from_lidar)


def _read_dair_camera(cloud: str, backend_args: dict | None) -> Camera:
    """The one camera of a side of DAIR-V2X-C or V2X-Seq."""
    folder, name = os.path.split(cloud)
    root, last = os.path.split(folder)
    apart = _APART.fullmatch(last)
    if apart:
        side = os.path.join(root, f'{apart[2]}-side')
    else:
        root, side = os.path.dirname(root), root
    side_name, stem = os.path.basename(side), os.path.splitext(name)[0]
    sensor = 'lidar' if side_name == 'vehicle-side' else 'virtuallidar'
    calib = os.path.join(side, 'calib')
    path = os.path.join(calib, f'{sensor}_to_camera', f'{stem}.json')
    camera_from_lidar = read_transform(path, backend_args)
    _check_place(path, 'rotation and translation', camera_from_lidar)
    path = os.path.join(calib, 'camera_intrinsic', f'{stem}.json')
    intrinsics = _intrinsics_of(path, *read_intrinsics(path, backend_args))
    folders = [os.path.join(side, 'image')]
    folders += [os.path.join(root, f'{archive}-{side_name}-image') for archive in _ARCHIVES]
    images = tuple(os.path.join(folder, f'{stem}.jpg') for folder in folders)
    return Camera('camera', images, intrinsics, camera_from_lidar)


def _intrinsics_of(path: str, key: str, value: Any) -> np.ndarray:
    """(3, 3) numbers of a pinhole camera."""
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.zeros(0)
    good = matrix.shape == (3, 3) and np.isfinite(matrix).all() and np.abs(matrix).max() < 1e6
    if not good or min(matrix[0, 0], matrix[1, 1]) <= 0 or (matrix[2] != [0, 0, 1]).any():
        raise DataFileError(
            path,
            f'key {key!r}: expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels, got '
            f'{shown(value)}',
        )
    return matrix


def _check_place(path: str, key: str, camera_from_lidar: np.ndarray, hint: str = '') -> None:
    """Refuse a camera that no agent has: far from its LiDAR, or lying on its side.

    Raises:
        DataFileError: it is so.
    """
    lidar_from_camera = invert_rigid(camera_from_lidar)
    far = float(np.linalg.norm(lidar_from_camera[:3, 3]))
    if far > _FAR:
        raise DataFileError(
            path,
            f'key {key!r}: the camera would be {far:.0f} m from its LiDAR, expected {_FAR:g} m at '
            f'most{hint}',
        )
    if -lidar_from_camera[2, 1] < _UPRIGHT:
        raise DataFileError(
            path,
            f"key {key!r}: the picture's lower edge would not be below its upper one in the "
            f"LiDAR's frame{hint}",
        )
