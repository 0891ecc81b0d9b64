"""The vector map in a picture from above."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

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
    lines = _joined_lines(scene.polylines[..., :2], scene.polyline_mask.astype(bool), types)
    for kind, (color, width, dashes) in LANE_STYLES.items():
        chosen = [line for line, of in zip(lines, types, strict=True) if of == kind]
        axes.add_collection(
            LineCollection(chosen, colors=color, linewidths=width, linestyles=[dashes], zorder=1)
        )


def _joined_lines(polylines: np.ndarray, mask: np.ndarray, types: np.ndarray) -> list[np.ndarray]:
    """The points of each polyline, led by its predecessor's last one where that lies next to it.

    Lanes are cut into polylines of ten points; without this, the cuts would show as gaps.

    Args:
        polylines: (L, 10, 2) metres.
        mask: (L, 10) bool.
        types: (L,) int.

    Returns:
        L arrays (P, 2).
    """
    pieces = [line[seen] for line, seen in zip(polylines, mask, strict=True)]
    lines = pieces[:1]
    for i in range(1, len(pieces)):
        before, piece = pieces[i - 1], pieces[i]
        if types[i] == types[i - 1] and len(before) > 1 and len(piece) > 1:
            gap = np.linalg.norm(piece[0] - before[-1])
            if gap <= 1.5 * np.linalg.norm(before[-1] - before[-2]):
                piece = np.concatenate([before[-1:], piece])
        lines.append(piece)
    return lines
