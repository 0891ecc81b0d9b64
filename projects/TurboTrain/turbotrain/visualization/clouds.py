"""Point clouds of several agents as one image from above."""

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.colors import to_rgb

from .scene import AgentView

__all__ = ['cloud_image']


def cloud_image(
    agents: Sequence[AgentView], colors: Sequence[str], limits: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Draw clouds: the colour says whose points, the opacity how many and how high.

    Args:
        agents: whose clouds.
        colors: a colour for each agent, in any form that matplotlib knows.
        limits: (4,) ``x_min, y_min, x_max, y_max`` in metres, ego frame; points outside are left
            out.
        size: width and height in pixels.

    Returns:
        (height, width, 4) float32 RGBA, top row first.
    """
    clouds = [agent.points[:, :3].astype(np.float64) for agent in agents]
    owner = np.repeat(np.arange(len(clouds)), [len(cloud) for cloud in clouds])
    points = np.concatenate([np.zeros((0, 3)), *clouds])
    pixel = np.floor((points[:, :2] - limits[:2]) / (limits[2:] - limits[:2]) * size)
    inside = np.isfinite(points).all(1) & ((pixel >= 0) & (pixel < size)).all(1)
    points, owner, pixel = points[inside], owner[inside], pixel[inside].astype(np.int64)
    # Returns from the ground stay dim, so that what stands on it stands out.
    weight = 0.2 + np.clip((_height_above_ground(points) - 0.2) / 0.6, 0.0, 1.0)

    width, height = size
    cell = (height - 1 - pixel[:, 1]) * width + pixel[:, 0]
    palette = np.array([to_rgb(color) for color in colors]).reshape(-1, 3)
    shares = np.column_stack([weight[:, None] * palette[owner], weight]).astype(np.float32)
    image = np.zeros((height, width, 4), dtype=np.float32)
    np.add.at(image.reshape(-1), (4 * cell[:, None] + np.arange(4)).ravel(), shares.ravel())
    # A little softened; the sum of the weights, in the last channel, alike.
    image = cv2.GaussianBlur(image, (0, 0), height / 1600.0, borderType=cv2.BORDER_REFLECT)
    # Most of the picture is empty; rows by their numbers are several times faster than by a mask.
    flat = image.reshape(-1, 4)
    there = np.flatnonzero(flat[:, 3] > 0.0)
    mixed, total = flat[there, :3], flat[there, 3:]
    # Thin clouds get a longer exposure: a few thousand points are seen as well as a million.
    exposure = np.float32(2.0 * np.clip(np.sqrt(4e5 / max(len(points), 1)), 1.0, 4.0))
    flat[there, :3] = np.minimum(mixed / total, 1.0)
    flat[there, 3:] = 1.0 - np.exp(-exposure * total)
    return image


def _height_above_ground(points: np.ndarray, cell_size: float = 4.0) -> np.ndarray:
    """(P,) metres of points (P, 3) above the lowest point of their square of ground."""
    if not len(points):
        return np.zeros(0)
    place = np.floor(points[:, :2] / cell_size).astype(np.int64)
    place -= place.min(axis=0)
    cell = place[:, 0] * (place[:, 1].max() + 1) + place[:, 1]
    lowest = np.full(cell.max() + 1, np.inf)
    np.minimum.at(lowest, cell, points[:, 2])
    return points[:, 2] - lowest[cell]
