"""Spinning LiDARs: beam patterns, ray casting against triangle meshes, noise.

Sensor frame: metres, x forward, y left, z up, the origin at the sensor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from .meshes import Mesh, merge

__all__ = ['DENSE_128', 'EVEN_64', 'EVEN_128', 'LidarPattern', 'LidarScan', 'Scene', 'scan']

AZIMUTH_STEP = 0.2  # degrees between two firings of an unthinned LiDAR
MAX_RANGE = 90.0  # metres
RANGE_NOISE = 0.02  # metres, standard deviation
INVALID_SHARE = 5e-4  # of a cloud's rows that are NaN, as in recorded files; at least 3 rows


@dataclass(frozen=True)
class LidarPattern:
    """Elevations (B,) of a LiDAR's beams, degrees, from the lowest to the highest."""

    elevations: tuple[float, ...]

    def directions(self, beam_step: int, azimuth_step: int, phase: float) -> np.ndarray:
        """Unit directions (R, 3) of one turn in the sensor frame.

        Neighbouring beams fire at shifted azimuths, so that thinned patterns stay even.

        Args:
            beam_step: use every n-th beam.
            azimuth_step: use every n-th firing (0.2 degrees).
            phase: where the turn starts, in steps, 0 to 1.
        """
        elevation = np.deg2rad(self.elevations[beam_step // 2 :: beam_step])
        step = np.deg2rad(AZIMUTH_STEP * azimuth_step)
        shift = (np.arange(len(elevation)) % 4)[:, None] / 4 + phase
        azimuth = (np.arange(round(2 * np.pi / step)) + shift) * step
        ring = np.cos(elevation)[:, None]
        rise = np.broadcast_to(np.sin(elevation)[:, None], azimuth.shape)
        return np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), rise], -1).reshape(-1, 3)


# A vehicle's 128 beams, densest near the horizon (after the kind of RoboSense's Ruby; our choice).
DENSE_128 = LidarPattern(
    tuple(
        np.concatenate(
            [np.linspace(-25.0, -7.2, 40), np.linspace(-7.0, 3.0, 74), np.linspace(3.5, 15.0, 14)]
        ).tolist()
    )
)
# Roadside LiDARs with evenly spread beams (Ouster OS1-128 and OS1-64: 45 degrees).
EVEN_128 = LidarPattern(tuple(np.linspace(-22.5, 22.5, 128).tolist()))
EVEN_64 = LidarPattern(tuple(np.linspace(-22.5, 22.5, 64).tolist()))


@dataclass(frozen=True)
class LidarScan:
    """One cloud.

    Attributes:
        points: (N, 4) float32 x, y, z (m, sensor frame) and intensity (0 to 1); a few rows are
            NaN, as in recorded files.
        owner: (N,) int32 index of the object that a point lies on; -1 for everything else.
    """

    points: np.ndarray
    owner: np.ndarray


class Scene:
    """Meshes to cast rays against, all in one frame.

    Args:
        static: mesh of what is no object.
        objects: one mesh an object; the index in this list is a point's ``owner``.
    """

    def __init__(self, static: Mesh, objects: Sequence[Mesh]) -> None:
        mesh = merge([static, *objects])
        sizes = [len(static.faces), *(len(item.faces) for item in objects)]
        self.reflectivity = mesh.reflectivity
        self.owner = np.repeat(np.arange(-1, len(objects), dtype=np.int32), sizes)
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(
            self._scene, mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32)
        )

    def cast(self, origin: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
        """First hits of rays.

        Args:
            origin: (3,) metres.
            directions: (R, 3) unit vectors.

        Returns:
            ``range`` (R,) m, ``face`` (R,) index (-1 without a hit), ``normal`` (R, 3) of that
            face, to either side of it, ``cosine`` (R,) of the angle of incidence.
        """
        rays = np.ascontiguousarray(directions, dtype=np.float32)
        origins = np.broadcast_to(origin.astype(np.float32), rays.shape).copy()
        hit = self._scene.run(origins, rays, output=1)
        normal = hit['Ng'].astype(np.float64)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        return {
            'range': hit['tfar'].astype(np.float64),
            'face': hit['primID'],
            'normal': normal,
            'cosine': np.abs((normal * directions).sum(1)),
        }


def scan(
    scene: Scene, frame_from_sensor: np.ndarray, directions: np.ndarray, rng: np.random.Generator
) -> LidarScan:
    """Take one cloud.

    Args:
        scene: what stands in the way, in some frame.
        frame_from_sensor: (4, 4) pose of the sensor in that frame.
        directions: (R, 3) unit vectors in the sensor frame.
        rng: source of range noise, lost returns and NaN rows.
    """
    rotated = directions @ frame_from_sensor[:3, :3].T
    hit = scene.cast(frame_from_sensor[:3, 3], rotated)
    lost = rng.random(len(directions)) < 0.01 + 0.12 * np.clip(hit['range'] / MAX_RANGE, 0, 1) ** 2
    kept = np.flatnonzero((hit['face'] >= 0) & (hit['range'] < MAX_RANGE) & ~lost)
    face, distance = hit['face'][kept], hit['range'][kept]
    measured = distance + RANGE_NOISE * rng.standard_normal(len(kept))
    brightness = scene.reflectivity[face] * (0.4 + 0.6 * hit['cosine'][kept])
    intensity = np.clip(brightness * (1.0 + 0.1 * rng.standard_normal(len(kept))), 0.0, 1.0)
    points = np.concatenate([directions[kept] * measured[:, None], intensity[:, None]], 1)
    owner = scene.owner[face]
    invalid = max(3, round(INVALID_SHARE * len(points)))
    places = np.sort(rng.integers(0, len(points) + 1, invalid))
    return LidarScan(
        np.insert(points, places, np.nan, axis=0).astype(np.float32),
        np.insert(owner, places, -1).astype(np.int32),
    )
