"""Triangle meshes of what a LiDAR can hit, simple but recognisable.

A road user's mesh lies in its box frame: x forward, y left, z up, the origin at the middle of the
box's bottom face. It touches all six faces of its box, so that boxes are tight round their points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .road_users import RoadUser

__all__ = ['Mesh', 'box', 'ellipsoid', 'merge', 'prism', 'upright_cylinder', 'user_mesh']

RUBBER, GLASS = 0.08, 0.18  # reflectivities


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) float64, metres.
        faces: (F, 3) int32 indices into the vertices.
        reflectivity: (F,) float32, 0 to 1.
    """

    vertices: np.ndarray
    faces: np.ndarray
    reflectivity: np.ndarray

    def placed(self, x: float, y: float, yaw: float, z: float = 0.0) -> 'Mesh':
        """The mesh turned by ``yaw`` (rad) about z and moved to (x, y, z)."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        return Mesh(self.vertices @ turn + (x, y, z), self.faces, self.reflectivity)


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of all triangles, in the meshes' order."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate(
            [mesh.faces + start for mesh, start in zip(meshes, starts[:-1], strict=True)]
        ).astype(np.int32),
        np.concatenate([mesh.reflectivity for mesh in meshes]),
    )


def _mesh(vertices: np.ndarray, faces: np.ndarray, reflectivity: float) -> Mesh:
    return Mesh(
        np.asarray(vertices, dtype=np.float64),
        np.asarray(faces, dtype=np.int32),
        np.full(len(faces), reflectivity, dtype=np.float32),
    )


def _swept(base: np.ndarray, top: np.ndarray, reflectivity: float) -> Mesh:
    """Closed hull between two convex polygons (K, 3) with matching corners."""
    count = len(base)
    here = np.arange(count)
    after = (here + 1) % count
    sides = np.concatenate(
        [
            np.stack([here, after, after + count], -1),
            np.stack([here, after + count, here + count], -1),
        ]
    )
    fan = np.stack([np.zeros(count - 2, int), here[1:-1], here[2:]], -1)
    return _mesh(
        np.concatenate([base, top]), np.concatenate([sides, fan, fan + count]), reflectivity
    )


def box(low: Sequence[float], high: Sequence[float], reflectivity: float) -> Mesh:
    """Axis-aligned box between two corners (x, y, z), metres."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    base = np.array([[x0, y0, z0], [x1, y0, z0], [x1, y1, z0], [x0, y1, z0]])
    return _swept(base, base + (0.0, 0.0, z1 - z0), reflectivity)


def prism(
    profile: Sequence[tuple[float, float]], y0: float, y1: float, reflectivity: float
) -> Mesh:
    """A convex side view ((x, z) corners, metres) extruded from y0 to y1."""
    corners = np.array(profile, dtype=np.float64)
    base = np.stack([corners[:, 0], np.full(len(corners), y0), corners[:, 1]], -1)
    return _swept(base, base + (0.0, y1 - y0, 0.0), reflectivity)


def upright_cylinder(
    x: float, y: float, radius: float, z0: float, z1: float, reflectivity: float
) -> Mesh:
    """Eight-sided column between the heights z0 and z1, metres."""
    angle = np.arange(8) * np.pi / 4
    base = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle), np.full(8, z0)], -1)
    return _swept(base, base + (0.0, 0.0, z1 - z0), reflectivity)


def ellipsoid(centre: Sequence[float], radii: Sequence[float], reflectivity: float) -> Mesh:
    """Faceted ellipsoid (8 x 4) round a centre, metres."""
    angle = np.arange(8) * np.pi / 4
    latitude = np.array([-0.5, 0.0, 0.5]) * np.pi / 2
    rings = np.stack(
        [
            np.cos(latitude)[:, None] * np.cos(angle),
            np.cos(latitude)[:, None] * np.sin(angle),
            np.broadcast_to(np.sin(latitude)[:, None], (3, 8)),
        ],
        -1,
    ).reshape(-1, 3)
    vertices = np.concatenate([rings, [[0, 0, -1], [0, 0, 1]]]) * radii + np.asarray(centre)
    here = np.arange(8)
    after = (here + 1) % 8
    faces = [
        np.stack([np.full(8, 24), after, here], -1),
        np.stack([here + 16, after + 16, np.full(8, 25)], -1),
    ]
    for ring in (0, 8):
        faces.append(np.stack([here, after, after + 8], -1) + ring)
        faces.append(np.stack([here, after + 8, here + 8], -1) + ring)
    return _mesh(vertices, np.concatenate(faces), reflectivity)


def _wheel(x: float, y0: float, y1: float, radius: float) -> Mesh:
    angle = np.arange(8) * np.pi / 4
    rim = [(x + radius * np.cos(a), radius + radius * np.sin(a)) for a in angle]
    return prism(rim, y0, y1, RUBBER)


def _wheels(axles: Sequence[float], width: float, radius: float) -> list[Mesh]:
    half = width / 2
    return [
        _wheel(x, side * (half - 0.25) - 0.12, side * (half - 0.25) + 0.12, radius)
        for x in axles
        for side in (-1.0, 1.0)
    ]


def _car(length: float, width: float, height: float, paint: float) -> Mesh:
    a, w = length / 2, width / 2
    body = prism(
        [
            (-a, 0.14 * height),
            (a, 0.14 * height),
            (a, 0.42 * height),
            (0.55 * a, 0.58 * height),
            (-0.9 * a, 0.60 * height),
            (-a, 0.52 * height),
        ],
        -w,
        w,
        paint,
    )
    sill, roof, inner = 0.58 * height, height, 0.86 * w
    base = np.array(
        [
            [-0.88 * a, -0.97 * w, sill],
            [0.52 * a, -0.97 * w, sill],
            [0.52 * a, 0.97 * w, sill],
            [-0.88 * a, 0.97 * w, sill],
        ]
    )
    top = np.array(
        [
            [-0.62 * a, -inner, roof],
            [0.12 * a, -inner, roof],
            [0.12 * a, inner, roof],
            [-0.62 * a, inner, roof],
        ]
    )
    return merge([body, _swept(base, top, GLASS), *_wheels((-0.58 * a, 0.6 * a), width, 0.33)])


def _van(length: float, width: float, height: float, paint: float) -> Mesh:
    a, w = length / 2, width / 2
    body = prism(
        [
            (-a, 0.13 * height),
            (a, 0.13 * height),
            (a, 0.42 * height),
            (0.72 * a, 0.52 * height),
            (0.45 * a, height),
            (-a, height),
        ],
        -w,
        w,
        paint,
    )
    return merge([body, *_wheels((-0.6 * a, 0.62 * a), width, 0.36)])


def _truck(length: float, width: float, height: float, paint: float) -> Mesh:
    a, w = length / 2, width / 2
    cab = a - 2.0
    return merge(
        [
            prism(
                [
                    (cab, 0.5),
                    (a, 0.5),
                    (a, 0.45 * height),
                    (a - 0.25, 0.8 * height),
                    (cab, 0.8 * height),
                ],
                -0.94 * w,
                0.94 * w,
                paint,
            ),
            box((-a, -w, 0.95), (cab - 0.2, w, height), min(1.0, paint + 0.2)),
            box((-a + 0.2, -0.4 * w, 0.55), (cab, 0.4 * w, 0.95), 0.2),
            *_wheels((-0.62 * a, a - 1.0), width, 0.48),
        ]
    )


def _bus(length: float, width: float, height: float, paint: float) -> Mesh:
    a, w = length / 2, width / 2
    return merge(
        [
            box((-a, -w, 0.32), (a, w, 0.45 * height), paint),
            box((-a, -w, 0.45 * height), (a, w, 0.8 * height), GLASS),
            box((-a, -w, 0.8 * height), (a, w, height), paint),
            *_wheels((-0.5 * a, 0.62 * a), width, 0.48),
        ]
    )


def _rider(length: float, width: float, height: float, clothes: float) -> Mesh:
    a, w = length / 2, width / 2
    radius = min(0.33, length / 5)
    return merge(
        [
            _wheel(a - radius, -0.06, 0.06, radius),
            _wheel(-a + radius, -0.06, 0.06, radius),
            box((-0.6 * a, -0.12, 0.3), (0.6 * a, 0.12, 0.52 * height), 0.35),
            box((0.35 * a, -w, 0.5 * height), (0.5 * a, w, 0.56 * height), 0.3),
            box((-0.35 * a, -0.24, 0.48 * height), (0.05 * a, 0.24, 0.86 * height), clothes),
            ellipsoid((0.0, 0.0, 0.92 * height), (0.13, 0.12, 0.08 * height), 0.4),
        ]
    )


def _person(length: float, width: float, height: float, clothes: float) -> Mesh:
    a, w = length / 2, width / 2
    hip, shoulder = 0.5 * height, 0.83 * height
    return merge(
        [
            box((0.05 * a, 0.1 * w, 0.0), (a, 0.55 * w, hip), 0.2),
            box((-a, -0.55 * w, 0.0), (-0.05 * a, -0.1 * w, hip), 0.2),
            box((-0.4 * a, -0.68 * w, hip), (0.4 * a, 0.68 * w, shoulder), clothes),
            box((-0.25 * a, 0.68 * w, 0.45 * height), (0.25 * a, w, shoulder), clothes),
            box((-0.25 * a, -w, 0.45 * height), (0.25 * a, -0.68 * w, shoulder), clothes),
            ellipsoid((0.0, 0.0, 0.92 * height), (0.12, 0.1, 0.08 * height), 0.4),
        ]
    )


_BUILDERS = {
    'car': _car,
    'van': _van,
    'truck': _truck,
    'bus': _bus,
    'rider': _rider,
    'person': _person,
}


def user_mesh(user: RoadUser) -> Mesh:
    """Mesh of a road user in its box frame; see the module's description."""
    return _BUILDERS[user.shape](*user.size, user.reflectivity)
