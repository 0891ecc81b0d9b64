"""From points in a camera's frame to image points.

The frame has x to the right, y down and z ahead, metres; the middle of the first pixel is (0, 0).
"""

import numpy as np

__all__ = ['NEAR', 'ahead_part', 'project']

NEAR = 0.1
"""Metres ahead of a camera at which lines are cut: what is nearer, or behind, has no image."""


def project(intrinsics: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Image points (..., 2) in pixels of points (..., 3) that are ahead of the camera."""
    image = points @ intrinsics.T
    return image[..., :2] / image[..., 2:]


def ahead_part(segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts of lines that a camera can see.

    Args:
        segments: (S, 2, 3) both ends of each, in the camera's frame.

    Returns:
        (K, 2, 3) ends that are at least ``NEAR`` ahead, and (K,) which of the segments they are of.
        Segments with an end that is not finite are left out.
    """
    depth = segments[..., 2]
    with np.errstate(invalid='ignore'):
        kept = np.flatnonzero((depth >= NEAR).any(1) & np.isfinite(segments).all((1, 2)))
    ends, depth = segments[kept].astype(np.float64), depth[kept]
    for end in (0, 1):
        cut = np.flatnonzero(depth[:, end] < NEAR)
        first, other = depth[cut, end], depth[cut, 1 - end]
        share = ((NEAR - first) / (other - first))[:, None]
        ends[cut, end] += share * (ends[cut, 1 - end] - ends[cut, end])
    return ends, kept
