"""What every point of every cloud goes through: one pass over memory each, in place.

A sample of four agents and five frames is hundreds of thousands of points. NumPy would make a pass
and an array of each comparison; these loops are compiled by numba, which mmdet3d brings.
All take contiguous float32 (P, 4) arrays x, y, z, intensity; those that drop points move the others
to the front and return how many there are.

The short loops are written for the compiler to work on several points at once: over flat arrays,
whose strides it knows, all four numbers of a point read and written, and without branches, so that
who stays is decided in one loop and moved to the front in another.
"""

import numpy as np

from ..compilation import compiled

__all__ = [
    'keep_finite',
    'keep_inside',
    'keep_lit',
    'keep_nearest',
    'keep_outside_body',
    'move',
]


@compiled
def _to_front(points: np.ndarray, stays: np.ndarray) -> int:
    """Move the points that stay to the front; how many there are."""
    rows = points.view(np.complex128).reshape(-1)  # 16 bytes each: a point in one go
    kept = 0
    for i in range(len(rows)):
        rows[kept] = rows[i]
        kept += stays[i]
    return kept


@compiled
def keep_finite(points: np.ndarray, limit: float) -> int:
    """Keep the points whose coordinates are finite; an intensity that is not becomes 0.

    Returns:
        How many there are, or -1 if a finite coordinate is beyond ``limit``.
    """
    flat, stays = points.reshape(-1), np.empty(len(points), dtype=np.uint8)
    most, endless = np.float32(limit), np.float32(np.inf)
    gone = far = dark = 0
    for i in range(len(points)):
        x, y, z, intensity = flat[4 * i], flat[4 * i + 1], flat[4 * i + 2], flat[4 * i + 3]
        finite = (abs(x) < endless) & (abs(y) < endless) & (abs(z) < endless)
        far += finite & ((abs(x) > most) | (abs(y) > most) | (abs(z) > most))
        gone += not finite
        dark += not abs(intensity) < endless
        stays[i] = finite
    if far:
        return -1
    if dark:
        for i in range(len(points)):
            if not abs(points[i, 3]) < endless:
                points[i, 3] = 0.0
    return _to_front(points, stays) if gone else len(points)


@compiled
def keep_outside_body(points: np.ndarray, body: np.ndarray, zero_intensity: bool) -> int:
    """Keep the points that are not within ``[x_min, y_min, x_max, y_max]``, borders included.

    Their intensity is set to 0 on the way if ``zero_intensity`` says so.
    """
    x_min, y_min, x_max, y_max = body[0], body[1], body[2], body[3]
    flat, stays = points.reshape(-1), np.empty(len(points), dtype=np.uint8)
    for i in range(len(points)):
        x, y = flat[4 * i], flat[4 * i + 1]
        stays[i] = (x < x_min) | (x > x_max) | (y < y_min) | (y > y_max)
    if zero_intensity:
        points[:, 3] = 0.0
    return _to_front(points, stays)


@compiled
def move(points: np.ndarray, b_from_a: np.ndarray) -> None:
    """Move points from frame a to frame b by a float32 (4, 4) matrix."""
    # In local variables, since the compiler cannot know that writing points leaves them alone.
    r00, r01, r02, t0 = b_from_a[0, 0], b_from_a[0, 1], b_from_a[0, 2], b_from_a[0, 3]
    r10, r11, r12, t1 = b_from_a[1, 0], b_from_a[1, 1], b_from_a[1, 2], b_from_a[1, 3]
    r20, r21, r22, t2 = b_from_a[2, 0], b_from_a[2, 1], b_from_a[2, 2], b_from_a[2, 3]
    flat = points.reshape(-1)
    for i in range(len(points)):
        x, y, z, intensity = flat[4 * i], flat[4 * i + 1], flat[4 * i + 2], flat[4 * i + 3]
        flat[4 * i] = (r00 * x + r01 * y + r02 * z) + t0
        flat[4 * i + 1] = (r10 * x + r11 * y + r12 * z) + t1
        flat[4 * i + 2] = (r20 * x + r21 * y + r22 * z) + t2
        flat[4 * i + 3] = intensity


@compiled
def keep_inside(points: np.ndarray, limits: np.ndarray) -> int:
    """Keep the points within ``[x_min, y_min, z_min, x_max, y_max, z_max]``, borders excluded."""
    x_min, y_min, z_min = limits[0], limits[1], limits[2]
    x_max, y_max, z_max = limits[3], limits[4], limits[5]
    flat, stays = points.reshape(-1), np.empty(len(points), dtype=np.uint8)
    for i in range(len(points)):
        x, y, z = flat[4 * i], flat[4 * i + 1], flat[4 * i + 2]
        inside = (x_min < x) & (x < x_max) & (y_min < y) & (y < y_max)
        stays[i] = inside & (z_min < z) & (z < z_max)
    return _to_front(points, stays)


@compiled
def keep_lit(points: np.ndarray, box_from_sensor: np.ndarray, half_sizes: np.ndarray) -> int:
    """Keep the points that a box neither holds nor hides from the sensor.

    Args:
        points: in the frame of the sensor, which is at its origin.
        box_from_sensor: float32 (4, 4), to the frame of the box's centre and axes.
        half_sizes: float32 (3,), metres.
    """
    stays = np.zeros(len(points), dtype=np.uint8)
    for i in range(len(points)):
        # The part of the way from the sensor to the point that lies between each pair of faces.
        enter, leave = np.float32(0.0), np.float32(1.0)
        for axis in range(3):
            begin = box_from_sensor[axis, 3]
            way = (
                box_from_sensor[axis, 0] * points[i, 0]
                + box_from_sensor[axis, 1] * points[i, 1]
                + box_from_sensor[axis, 2] * points[i, 2]
            )
            if abs(way) < 1e-6:
                if abs(begin) > half_sizes[axis]:
                    leave = np.float32(-1.0)
                continue
            one, other = (half_sizes[axis] - begin) / way, (-half_sizes[axis] - begin) / way
            enter, leave = max(enter, min(one, other)), min(leave, max(one, other))
        stays[i] = enter > leave
    return _to_front(points, stays)


@compiled
def keep_nearest(points: np.ndarray, scene: np.ndarray, bin_size: float, depth: float) -> int:
    """Keep the points that neither the scene nor other ones of them hide from the sensor.

    Args:
        points: in the frame of the sensor, which is at its origin.
        scene: other points in that frame.
        bin_size: directions this close (rad, in azimuth and in elevation) hide each other.
        depth: how much further away than the nearest one a point may be, metres.
    """
    columns, rows = int(2 * np.pi / bin_size) + 2, int(np.pi / bin_size) + 2
    image = np.full((columns, rows), np.inf)
    for cloud in (scene, points):
        for i in range(len(cloud)):
            x, y, z = cloud[i, 0], cloud[i, 1], cloud[i, 2]
            column = int((np.arctan2(y, x) + np.pi) / bin_size)
            row = int((np.arctan2(z, np.hypot(x, y)) + np.pi / 2) / bin_size)
            image[column, row] = min(image[column, row], np.sqrt(x * x + y * y + z * z))
    stays = np.zeros(len(points), dtype=np.uint8)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        column = int((np.arctan2(y, x) + np.pi) / bin_size)
        row = int((np.arctan2(z, np.hypot(x, y)) + np.pi / 2) / bin_size)
        stays[i] = np.sqrt(x * x + y * y + z * z) <= image[column, row] + depth
    return _to_front(points, stays)
