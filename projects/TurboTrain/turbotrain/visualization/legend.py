"""What the colours and lines of a picture from above mean."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from .lanes import LANE_STYLES
from .objects import FAINT, FALSE_ALARM, MISSED, PREDICTION, TEXT, TRUTH, VELOCITY
from .scene import BEVScene

__all__ = ['LegendEntry', 'legend_entries', 'write_legend']

FOOTER = 0.062
"""Share of the picture's height for the legend."""


class LegendEntry(NamedTuple):
    """A line or a mark, and what it means."""

    label: str
    color: str
    width: float = 0.0
    dashes: Any = ''
    marker: str = ''
    filled: bool = True


def legend_entries(scene: BEVScene, colors: Sequence[str]) -> list[LegendEntry]:
    """Agents first, then what the lines mean, of what there is to see in a scene."""
    entries = [
        LegendEntry(agent.name, color, marker='o')
        for agent, color in zip(scene.agents, colors, strict=True)
    ]
    entries.append(LegendEntry('ground truth', TRUTH, 1.2, 'solid'))
    if scene.gt_pasts is not None:
        entries.append(LegendEntry('past path', FAINT, 1.2, (0, (1, 2))))
    if len(scene.pred_boxes):
        entries.append(LegendEntry('prediction', PREDICTION, 2.0, 'solid'))
    if scene.pred_velocities is not None:
        entries.append(LegendEntry('velocity (1 s)', VELOCITY, 1.2, 'solid'))
    if scene.missed is not None:
        entries.append(LegendEntry('missed', MISSED, marker='o', filled=False))
    if scene.false_alarms is not None:
        entries.append(LegendEntry('false alarm', FALSE_ALARM, marker='x'))
    for kind, name in ((1, 'driving lane'), (5, 'lane boundary')):
        if (scene.polylines[:, 0, 6] == kind).any():
            color, width, dashes = LANE_STYLES[kind]
            entries.append(LegendEntry(name, color, width + 0.6, dashes))
    return entries


def write_legend(figure: Figure, entries: Sequence[LegendEntry]) -> None:
    """One row below the picture, as small as it has to be."""
    lines = [
        Line2D(
            [], [], color=entry.color, linewidth=entry.width, linestyle=entry.dashes,
            marker=entry.marker, markersize=7, label=entry.label,
            markerfacecolor=entry.color if entry.filled else 'none',
        )
        for entry in entries
    ]  # fmt: skip
    legend = _row_of(lines, figure, scale=1.0)
    room = 0.98 * figure.bbox.width / legend.get_window_extent().width
    if room < 1.0:
        legend.remove()
        _row_of(lines, figure, scale=room)


def _row_of(lines: Sequence[Line2D], figure: Figure, scale: float) -> Legend:
    """A legend of one row; ``scale`` shrinks its letters, and with them all its spaces."""
    return figure.legend(
        handles=lines,
        loc='center left',
        bbox_to_anchor=(0.008, FOOTER / 2),
        ncols=len(lines),
        frameon=False,
        labelcolor=TEXT,
        fontsize=10.5 * scale,
        handlelength=1.6,
        handletextpad=0.6,
        columnspacing=2.0,
    )
