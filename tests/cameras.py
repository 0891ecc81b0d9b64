"""A scene of one box, as agents' cameras see it, in the format of V2XPnP-Seq."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.layouts import matrix
from turbotrain.simulation.cameras import CAMERAS, Camera, render, write_image
from turbotrain.simulation.lidar import Scene
from turbotrain.simulation.meshes import box
from turbotrain.simulation.writer import write_annotation, write_cloud

POSES = {1: [300.0, 200.0, 1.9, 0.5, 10.0, -0.4], -1: [320.0, 188.0, 4.1, 1.0, 90.0, -4.0]}
PLACE, YAW, EXTENT = (314.0, 203.0, 0.8), 35.0, (2.2, 0.9, 0.8)
FRAME = 4


class Sight(NamedTuple):
    """What a camera sees: the picture, and the pixels (H, W) that the box takes of it."""

    picture: np.ndarray
    silhouette: np.ndarray


def look(pose: list[float], camera: Camera) -> Sight:
    """Look with the box and without it."""
    ground = box((-900, -900, -1.0), (900, 900, 0.0), 0.25)
    size = np.array(EXTENT)
    target = box((-size).tolist(), size.tolist(), 0.5)
    target = target.placed(PLACE[0], PLACE[1], np.deg2rad(YAW), PLACE[2])
    world_from_camera = matrix(pose) @ camera.lidar_from_camera
    pictures = [
        render(scene, world_from_camera, camera, paints)
        for scene, paints in (
            (Scene(ground, [target]), [(0.9, 0.2, 0.1)]),
            (Scene(ground, []), []),
        )
    ]
    return Sight(pictures[0], (pictures[0] != pictures[1]).any(-1))


def write_pictures(root: Path) -> dict[tuple[int, str], Sight]:
    """Write a vehicle and a roadside unit at one time.

    Returns:
        What the cameras see, by the agents' ids and the cameras' names.
    """
    sights = {}
    label = dict(obj_type='Car', location=PLACE, angle=(0.0, YAW, 0.0), extent=EXTENT)
    for agent, pose in POSES.items():
        folder = root / f'train/2023-03-17-16-12-12_3_0/{agent}'
        folder.mkdir(parents=True)
        stem = folder / f'{FRAME:06d}'
        cameras = CAMERAS[agent < 0]
        write_annotation(stem.with_suffix('.yaml'), np.array(pose), agent < 0, {7: label}, cameras)
        cloud = np.random.default_rng(0).uniform(-20, 20, (50, 4)) * (1, 1, 0.1, 0)
        write_cloud(stem.with_suffix('.bin'), cloud)
        for camera in cameras:
            sights[agent, camera.name] = sight = look(pose, camera)
            write_image(stem.with_name(f'{stem.name}_{camera.name}.jpeg'), sight.picture)
    return sights
