"""Cameras of the simulated agents: where they look, and flat-shaded pictures of a scene.

A camera's frame has x to the right of the picture, y down and z ahead, metres. The middle of the
picture's first pixel is the image point (0, 0). Sizes, mountings and colours are our choice.
"""

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.spatial import cKDTree

from ..structures.poses import pose_to_matrix
from .lidar import Scene
from .meshes import GLASS, RUBBER
from .road_network import DRIVING, SIDEWALK, NetworkLane, resample_polyline
from .surroundings import BARK, LEAVES

__all__ = ['CAMERAS', 'IMAGE_SUFFIX', 'Camera', 'Roads', 'paint_of', 'render', 'write_image']

IMAGE_SUFFIX = '.jpeg'
IMAGE_SIZE = (320, 180)
_INTRINSICS = np.array([[166.0, 0.0, 158.4], [0.0, 167.5, 91.3], [0.0, 0.0, 1.0]])  # pixels
_BODY_FROM_CAMERA = np.array(  # a body's x is ahead, y to the left, z up
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
# By "is infrastructure": x, y, z in the LiDAR's frame (m), roll, yaw, pitch of a body (degrees).
_MOUNTINGS = {
    False: (
        (0.45, 0.02, -0.30, 0.6, -1.5, -3.0),
        (0.05, -0.45, -0.32, -0.9, -91.0, -4.0),
        (-0.06, 0.44, -0.28, 0.7, 88.0, -4.0),
        (-0.45, -0.03, -0.31, -0.5, 178.5, -3.5),
    ),
    True: ((0.26, 0.15, -0.30, 1.0, 29.0, -5.0), (0.25, -0.15, -0.35, -1.2, -31.0, -4.0)),
}

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111)
_SUN = np.array([0.35, 0.25, 0.9]) / np.linalg.norm([0.35, 0.25, 0.9])
_AMBIENT = 0.55  # of the light
_HAZE = 160.0  # metres in which the haze takes 1 - 1/e of a colour
_SKY, _HORIZON = np.array([0.45, 0.62, 0.85]), np.array([0.83, 0.88, 0.93])
_ASPHALT, _PAVEMENT, _GRASS = (0.36, 0.37, 0.39), (0.63, 0.61, 0.58), (0.47, 0.55, 0.37)
_MARKING, _MARKING_WIDTH = (0.86, 0.86, 0.84), 0.14  # metres
_PAVED = 5.0  # metres from the middle of a lane to the grass
_GAP = 0.25  # metres between lanes that belong together
_MATERIALS = {
    GLASS: (0.16, 0.2, 0.26),
    RUBBER: (0.09, 0.09, 0.1),
    BARK: (0.36, 0.28, 0.2),
    LEAVES: (0.27, 0.45, 0.22),
}
"""Colours of what its reflectivity tells; all else is of its owner's paint, or of stone."""


class Camera(NamedTuple):
    """One camera of an agent.

    Attributes:
        name: as the annotation calls it.
        lidar_from_camera: (4, 4).
        intrinsics: (3, 3) pixels.
        size: width and height of its pictures, pixels.
    """

    name: str
    lidar_from_camera: np.ndarray
    intrinsics: np.ndarray
    size: tuple[int, int]

    def world_from_body(self, world_from_lidar: np.ndarray) -> np.ndarray:
        """(4, 4) where a body with x ahead, y to the left and z up is, whose camera this is."""
        return world_from_lidar @ self.lidar_from_camera @ _BODY_FROM_CAMERA.T


CAMERAS = {
    infra: tuple(
        Camera(f'cam{i}', pose_to_matrix(mounting) @ _BODY_FROM_CAMERA, _INTRINSICS, IMAGE_SIZE)
        for i, mounting in enumerate(mountings, start=1)
    )
    for infra, mountings in _MOUNTINGS.items()
}
"""Cameras by "is infrastructure": ahead, to the right, to the left and behind; two on a pole."""


class Roads:
    """The colour of the ground: asphalt with the edges of its lanes, pavements, grass.

    Args:
        lanes: those of the site.
    """

    def __init__(self, lanes: Sequence[NetworkLane] = ()) -> None:
        roads = [lane for lane in lanes if lane.type != SIDEWALK]
        lines = [resample_polyline(lane.centre, 0.5) for lane in roads]
        counts = [len(line) for line in lines]
        self._tree = cKDTree(np.concatenate([np.zeros((0, 2)), *lines]))
        self._half = np.repeat([lane.width / 2 for lane in roads], counts)
        # Lanes within a junction, which cross each other, have no edges.
        edged = [lane.type == DRIVING and not lane.edge_id.startswith(':') for lane in roads]
        self._edged = np.repeat(edged, counts).astype(bool)

    def colors(self, places: np.ndarray) -> np.ndarray:
        """(P, 3) colours, 0 to 1, of places (P, 2) on the ground, metres."""
        distance, nearest = self._tree.query(places, distance_upper_bound=_PAVED)
        paved = np.flatnonzero(np.isfinite(distance))
        distance, nearest = distance[paved], nearest[paved]
        color = np.tile(_PAVEMENT, (len(paved), 1))
        inside = distance <= self._half[nearest] + _GAP
        color[inside] = _ASPHALT
        edge = np.abs(distance - self._half[nearest]) < _MARKING_WIDTH / 2
        color[edge & self._edged[nearest]] = _MARKING
        found = np.tile(_GRASS, (len(places), 1))
        found[paved] = color
        return found


def paint_of(key: int) -> tuple[float, float, float]:
    """Red, green and blue, 0 to 1, of an object: neighbours in number differ in hue."""
    return colorsys.hsv_to_rgb(key * 0.618034 % 1.0, 0.2 + 0.15 * (key % 3), 0.8)


def render(
    scene: Scene,
    frame_from_camera: np.ndarray,
    camera: Camera,
    paints: Sequence[Sequence[float]],
    roads: Roads | None = None,
) -> np.ndarray:
    """Draw what a camera sees, one ray through the middle of each pixel.

    Args:
        scene: what there is, in a frame whose ground is z = 0.
        frame_from_camera: (4, 4) where the camera is in that frame.
        camera: its intrinsics and size.
        paints: for each of the scene's objects red, green and blue, 0 to 1.
        roads: the colour of the ground.

    Returns:
        (height, width, 3) uint8, red first.
    """
    width, height = camera.size
    pixels = np.stack([*np.meshgrid(np.arange(width), np.arange(height)), np.ones((height, width))])
    rays = frame_from_camera[:3, :3] @ np.linalg.inv(camera.intrinsics) @ pixels.reshape(3, -1)
    rays = (rays / np.linalg.norm(rays, axis=0)).T
    origin = frame_from_camera[:3, 3]
    hit = scene.cast(origin, rays)
    sky = _HORIZON + np.clip(2.5 * rays[:, 2:], 0.0, 1.0) * (_SKY - _HORIZON)
    seen = np.flatnonzero(hit['face'] >= 0)
    face, distance = hit['face'][seen], hit['range'][seen, None]

    owner, reflectivity = scene.owner[face], scene.reflectivity[face]
    stone = np.clip(0.35 + 0.9 * reflectivity, 0.0, 0.85)[:, None] * (1.0, 0.96, 0.9)
    paint = np.concatenate([np.reshape(paints, (-1, 3)), np.zeros((1, 3))])[owner]
    color = np.where(owner[:, None] >= 0, paint, stone)
    for value, material in _MATERIALS.items():
        color[reflectivity == np.float32(value)] = material
    place = origin + distance * rays[seen]
    ground = np.flatnonzero((owner < 0) & (np.abs(place[:, 2]) < 0.02))
    color[ground] = (roads or Roads()).colors(place[ground, :2])

    normal = hit['normal'][seen]
    normal *= -np.sign((normal * rays[seen]).sum(1, keepdims=True))
    light = _AMBIENT + (1.0 - _AMBIENT) * np.clip(normal @ _SUN, 0.0, 1.0)[:, None]
    clear = np.exp(-distance / _HAZE)
    picture = sky
    picture[seen] = clear * light * color + (1.0 - clear) * _HORIZON
    return np.round(255.0 * np.clip(picture, 0.0, 1.0)).astype(np.uint8).reshape(height, width, 3)


def write_image(path: Path, picture: np.ndarray) -> None:
    """Write (height, width, 3) uint8, red first, as a JPEG file with all of its colours."""
    _, content = cv2.imencode('.jpg', np.ascontiguousarray(picture[..., ::-1]), _JPEG)
    path.write_bytes(content.tobytes())
