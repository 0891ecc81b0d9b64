"""A still of one sample from above, for slides and reports; needs no display."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from ..structures import VEHICLE, yaw_of
from .clouds import cloud_image
from .lanes import LANE_STYLES, draw_lanes
from .scene import AgentView, BEVScene

__all__ = ['AGENT_COLORS', 'draw_bev', 'save_figure']

AGENT_COLORS = ('#6478FF', '#46C795', '#DD88CC', '#D6DF6E')
"""Colours of the agents, the ego's first; they stay apart for colour-blind eyes too."""
_PREDICTION = '#FF5F2E'
_TRUTH = '#F2F5F8'
BACKGROUND = '#0B0E14'
TEXT = '#C9D1D9'
_FAINT = '#8B95A5'
_HEADER, _FOOTER = 0.072, 0.062
"""Shares of the picture's height for the title and for the legend."""


def draw_bev(
    scene: BEVScene,
    view_range: Sequence[float] = (-70.4, -40.0, 70.4, 40.0),
    size: tuple[int, int] = (1600, 900),
) -> Figure:
    """Draw a sample: clouds by agent, agents, lanes, boxes with their headings, and paths.

    Args:
        scene: what to draw.
        view_range: ``(x_min, y_min, x_max, y_max)`` in metres, ego frame, that must be in the
            picture; what the picture's proportions leave over shows more of the surroundings.
        size: width and height in pixels. Lines and letters grow with the height.

    Returns:
        A figure with a canvas of its own; matplotlib's global state stays as it is.
    """
    width, height = size
    dpi = height / 9.0
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    top, bottom = round(height * (1 - _HEADER)), round(height * _FOOTER)
    axes = figure.add_axes((0.0, bottom / height, 1.0, (top - bottom) / height))
    axes.set_axis_off()
    limits = _fit(view_range, width / (top - bottom))
    axes.set(xlim=limits[[0, 2]], ylim=limits[[1, 3]])

    colors = [AGENT_COLORS[i % len(AGENT_COLORS)] for i in range(len(scene.agents))]
    draw_lanes(axes, scene)
    image = cloud_image(scene.agents, colors, limits, (width, top - bottom))
    axes.imshow(
        image, extent=limits[[0, 2, 1, 3]], aspect='auto', interpolation='nearest', zorder=2
    )
    _draw_truth(axes, scene)
    _draw_predictions(axes, scene)
    for agent, color in zip(scene.agents, colors, strict=True):
        _draw_agent(axes, agent, color)
    _draw_scale_bar(axes, limits)
    _write_header(figure, scene)
    _write_legend(figure, scene, colors)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure at the size in pixels it was drawn for; makes the folder if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=figure.dpi, facecolor=figure.get_facecolor())


def _fit(view_range: Sequence[float], proportion: float) -> np.ndarray:
    """(4,) the least range of a given width : height that has ``view_range`` in its middle."""
    low, high = np.asarray(view_range, dtype=np.float64).reshape(2, 2)
    if not (low < high).all():
        raise ValueError(f'view_range: expected (x_min, y_min, x_max, y_max), got {view_range}')
    span = high - low
    span = np.maximum(span, [span[1] * proportion, span[0] / proportion])
    middle = (low + high) / 2
    return np.concatenate([middle - span / 2, middle + span / 2])


def _draw_truth(axes: Axes, scene: BEVScene) -> None:
    """Ground truth: thin light boxes, dotted pasts, futures with a mark at each known time."""
    white = np.tile(to_rgba(_TRUTH, 0.9), (len(scene.gt_boxes), 1))
    _draw_boxes(axes, scene.gt_boxes, white, width=0.9, zorder=4)
    now = scene.gt_boxes[:, None, :2]
    if scene.gt_pasts is not None:
        paths = np.concatenate([scene.gt_pasts, now], axis=1)
        _draw_paths(axes, paths, to_rgba(_FAINT, 0.9), width=1.0, dashes=(0, (1, 2)), zorder=3)
    if scene.gt_futures is not None:
        paths = np.concatenate([now, scene.gt_futures], axis=1)
        _draw_paths(axes, paths, to_rgba(_TRUTH, 0.65), width=0.9, zorder=5)
        ends = scene.gt_futures.reshape(-1, 2)
        axes.plot(*ends.T, '.', color=_TRUTH, alpha=0.65, markersize=2.6, zorder=5)


def _draw_predictions(axes: Axes, scene: BEVScene) -> None:
    """Predictions: boxes as opaque as their scores, and their modes as opaque as theirs."""
    opacity = 0.3 + 0.7 * np.clip(scene.pred_scores, 0.0, 1.0)
    colors = np.tile(to_rgba(_PREDICTION), (len(opacity), 1))
    colors[:, 3] = opacity
    _draw_boxes(axes, scene.pred_boxes, colors, width=1.4, zorder=6, fill=0.25)
    if scene.pred_futures is None:
        return
    num_modes = scene.pred_futures.shape[1]
    share = np.ones((len(opacity), num_modes))
    if scene.pred_mode_scores is not None:
        best = scene.pred_mode_scores.max(axis=1, keepdims=True)
        share = scene.pred_mode_scores / np.maximum(best, 1e-9)
    for mode in range(num_modes):
        paths = np.concatenate([scene.pred_boxes[:, None, :2], scene.pred_futures[:, mode]], axis=1)
        # A new array for each mode: matplotlib keeps the one it is given.
        shades = colors.copy()
        shades[:, 3] *= 0.15 + 0.85 * np.clip(share[:, mode], 0.0, 1.0)
        _draw_paths(axes, paths, shades, width=1.6, zorder=7)
        axes.scatter(*paths[:, -1].T, s=9, color=shades, linewidths=0, zorder=7)


def _draw_boxes(
    axes: Axes,
    boxes: np.ndarray,
    colors: np.ndarray,
    width: float,
    zorder: int,
    fill: float = 0.0,
) -> None:
    """Boxes (N, 5) with a tick at the front, in colours (N, 4); ``fill`` is the inside's share."""
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    forward = 0.5 * boxes[:, 2:3] * np.stack([cos, sin], axis=1)
    left = 0.5 * boxes[:, 3:4] * np.stack([-sin, cos], axis=1)
    middle = boxes[:, :2]
    corners = np.stack([forward + left, forward - left, -forward - left, left - forward], axis=1)
    ticks = np.stack([middle + 0.55 * forward, middle + forward], axis=1)
    axes.add_collection(
        PolyCollection(
            middle[:, None] + corners,
            facecolors=colors * [1.0, 1.0, 1.0, fill],
            edgecolors=colors,
            linewidths=width,
            joinstyle='round',
            zorder=zorder,
        )
    )
    axes.add_collection(LineCollection(ticks, colors=colors, linewidths=width, zorder=zorder))


def _draw_paths(
    axes: Axes,
    paths: np.ndarray,
    color: np.ndarray | tuple,
    width: float,
    zorder: int,
    dashes: str | tuple = 'solid',
) -> None:
    """Paths (N, T, 2) as lines through those of their points that are finite."""
    lines = [path[np.isfinite(path).all(axis=1)] for path in paths]
    axes.add_collection(
        LineCollection(lines, colors=color, linewidths=width, linestyles=[dashes], zorder=zorder)
    )


def _draw_agent(axes: Axes, agent: AgentView, color: str) -> None:
    """Where an agent stands: an arrowhead for a vehicle, a diamond for a roadside unit."""
    x, y = agent.ego_from_agent[:2, 3]
    yaw = yaw_of(agent.ego_from_agent)
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    if agent.kind == VEHICLE:
        shape = np.array([[1.9, 0.0], [-1.3, 1.15], [-0.7, 0.0], [-1.3, -1.15]]) @ turn
    else:
        shape = np.array([[1.35, 0.0], [0.0, 1.35], [-1.35, 0.0], [0.0, -1.35]])
        beam = np.array([[0.0, 0.0], [3.4, 0.0]]) @ turn + [x, y]
        axes.plot(*beam.T, color=color, linewidth=1.6, solid_capstyle='round', zorder=8)
    axes.fill(*(shape + [x, y]).T, facecolor=color, edgecolor=BACKGROUND, zorder=9)
    axes.annotate(
        agent.name,
        (x, y),
        xytext=(9, 9),
        textcoords='offset points',
        color=color,
        fontsize=9.5,
        fontweight='bold',
        path_effects=[withStroke(linewidth=2.5, foreground=BACKGROUND)],
        annotation_clip=True,
        zorder=10,
    )


def _draw_scale_bar(axes: Axes, limits: np.ndarray) -> None:
    """A bar of a round length, about a tenth of the picture, in the lower right corner."""
    span = limits[2:] - limits[:2]
    lengths = np.array([1, 2, 5, 10, 20, 50, 100, 200])
    length = lengths[np.abs(np.log(lengths / (0.1 * span[0]))).argmin()]
    right, y = limits[2] - 0.018 * span[0], limits[1] + 0.035 * span[1]
    axes.plot(
        [right - length, right], [y, y], color=TEXT, linewidth=2, solid_capstyle='butt', zorder=10
    )
    axes.annotate(
        f'{length} m',
        (right - length / 2, y),
        xytext=(0, 5),
        textcoords='offset points',
        ha='center',
        color=TEXT,
        fontsize=9.5,
        zorder=10,
    )


def _write_header(figure: Figure, scene: BEVScene) -> None:
    """The title, and what there is to see in numbers."""
    middle = 1.0 - _HEADER / 2
    figure.text(
        0.014, middle, scene.title, color='white', fontsize=15, fontweight='bold', va='center'
    )
    num_points = sum(len(agent.points) for agent in scene.agents)
    facts = [f'{len(scene.agents)} agents', f'{num_points:,} points']
    facts += [f'{len(scene.gt_boxes)} objects', f'{len(scene.pred_boxes)} detections']
    figure.text(
        0.986, middle, '   ·   '.join(facts), color=TEXT, fontsize=11, va='center', ha='right'
    )


def _write_legend(figure: Figure, scene: BEVScene, colors: Sequence[str]) -> None:
    """One row below the picture: agents first, then what the lines mean."""
    entries = [
        Line2D([], [], marker='o', markersize=7, linestyle='', color=color, label=agent.name)
        for agent, color in zip(scene.agents, colors, strict=True)
    ]
    lines = [('ground truth', _TRUTH, 1.2, 'solid', True)]
    lines.append(('past path', _FAINT, 1.2, (0, (1, 2)), scene.gt_pasts is not None))
    lines.append(('prediction', _PREDICTION, 2.0, 'solid', len(scene.pred_boxes) > 0))
    for kind, name in ((1, 'driving lane'), (5, 'lane boundary')):
        color, width, dashes = LANE_STYLES[kind]
        present = bool((scene.polylines[:, 0, 6] == kind).any())
        lines.append((name, color, width + 0.6, dashes, present))
    entries += [
        Line2D([], [], color=color, linewidth=width, linestyle=dashes, label=name)
        for name, color, width, dashes, present in lines
        if present
    ]
    legend = _row_of(entries, figure, scale=1.0)
    room = 0.98 * figure.bbox.width / legend.get_window_extent().width
    if room < 1.0:
        legend.remove()
        _row_of(entries, figure, scale=room)


def _row_of(entries: Sequence[Line2D], figure: Figure, scale: float) -> Legend:
    """A legend of one row; ``scale`` shrinks its letters, and with them all its spaces."""
    return figure.legend(
        handles=entries,
        loc='center left',
        bbox_to_anchor=(0.008, _FOOTER / 2),
        ncols=len(entries),
        frameon=False,
        labelcolor=TEXT,
        fontsize=10.5 * scale,
        handlelength=1.6,
        handletextpad=0.6,
        columnspacing=2.0,
    )
