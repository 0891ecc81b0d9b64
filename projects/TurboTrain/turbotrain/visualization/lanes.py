"""The vector map in a picture from above."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .scene import BEVScene

__all__ = ['LANE_STYLES', 'draw_lanes']

LANE_STYLES = {
    1: ('#34445B', 0.8, (0, (5, 4))),
    2: ('#2A3138', 0.8, 'solid'),
    3: ('#242C36', 0.7, 'solid'),
    4: ('#2B3040', 0.8, 'solid'),
    5: ('#465469', 1.0, 'solid'),
}
"""Colour, width in points and dashes of each type of polyline; others aren't drawn."""


def draw_lanes(axes: Axes, scene: BEVScene) -> None:
    """The vector map, each type of polyline in its own quiet style."""
    types = scene.polylines[:, 0, 6].astype(np.int64)
    points, there = _joined_lines(scene.polylines[..., :2], scene.polyline_mask.astype(bool), types)
    for kind, (color, width, dashes) in LANE_STYLES.items():
        # One line with gaps for all of a kind: a path for each would take ten times as long.
        x, y = points[types == kind][there[types == kind]].T
        axes.add_artist(
            Line2D(x, y, color=color, linewidth=width, linestyle=dashes, zorder=1,
                   solid_capstyle='butt')
        )  # fmt: skip


def _joined_lines(
    polylines: np.ndarray, mask: np.ndarray, types: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The points of each polyline, led by its predecessor's last one where that lies next to it.

    Lanes are cut into polylines of ten points; without this, the cuts would show as gaps.

    Args:
        polylines: (L, P, 2) metres.
        mask: (L, P) bool.
        types: (L,) int.

    Returns:
        (L, P + 2, 2) the leading point, the polyline's own, and NaN, the gap to the next; and
        (L, P + 2) bool, which of them are there.
    """
    rows, count = np.arange(len(polylines)), mask.sum(axis=1)
    order = np.argsort(~mask, axis=1, kind='stable')  # those that are there first
    points, there = polylines[rows[:, None], order], np.arange(mask.shape[1]) < count[:, None]
    last, before_last = points[rows, count - 1], points[rows, count - 2]
    step = np.linalg.norm(last - before_last, axis=1)
    gap = np.linalg.norm(points[:, 0] - np.roll(last, 1, axis=0), axis=1)
    long = count > 1
    joined = (
        long & np.roll(long, 1) & (types == np.roll(types, 1)) & (gap <= 1.5 * np.roll(step, 1))
    )
    joined[:1] = False
    return np.concatenate(
        [np.roll(last, 1, axis=0)[:, None], points, np.full((len(points), 1, 2), np.nan)], axis=1
    ), np.concatenate([joined[:, None], there, np.ones((len(points), 1), dtype=bool)], axis=1)
