"""What stands and moves in a picture from above: ground truth, predictions, agents, and errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.patheffects import withStroke

from ..structures import VEHICLE, yaw_of
from .scene import AgentView, BEVScene

__all__ = ['AGENT_COLORS', 'draw_objects']

AGENT_COLORS = ('#6478FF', '#46C795', '#DD88CC', '#D6DF6E')
"""Colours of the agents, the ego's first; they stay apart for colour-blind eyes too."""
PREDICTION = '#FF5F2E'
VELOCITY = '#FFC2A3'
TRUTH = '#F2F5F8'
MISSED = '#FFD23F'
FALSE_ALARM = '#3DE0FF'
BACKGROUND = '#0B0E14'
TEXT = '#C9D1D9'
FAINT = '#8B95A5'


def draw_objects(axes: Axes, scene: BEVScene, colors: Sequence[str]) -> None:
    """Draw all of them; ``colors`` are the agents'."""
    _draw_truth(axes, scene)
    _draw_predictions(axes, scene)
    _draw_errors(axes, scene)
    for agent, color in zip(scene.agents, colors, strict=True):
        _draw_agent(axes, agent, color)


def _draw_truth(axes: Axes, scene: BEVScene) -> None:
    """Ground truth: thin light boxes, dotted pasts, futures with a mark at each known time."""
    white = np.tile(to_rgba(TRUTH, 0.9), (len(scene.gt_boxes), 1))
    _draw_boxes(axes, scene.gt_boxes, white, width=0.9, zorder=4)
    now = scene.gt_boxes[:, None, :2]
    if scene.gt_pasts is not None:
        paths = np.concatenate([scene.gt_pasts, now], axis=1)
        _draw_paths(axes, paths, to_rgba(FAINT, 0.9), width=1.0, dashes=(0, (1, 2)), zorder=3)
    if scene.gt_futures is not None:
        paths = np.concatenate([now, scene.gt_futures], axis=1)
        _draw_paths(axes, paths, to_rgba(TRUTH, 0.65), width=0.9, zorder=5)
        ends = scene.gt_futures.reshape(-1, 2)
        _draw_marks(axes, ends, '.', markersize=2.6, color=TRUTH, alpha=0.65, zorder=5)


def _draw_predictions(axes: Axes, scene: BEVScene) -> None:
    """Predictions: boxes as opaque as their scores, and their modes as opaque as theirs."""
    opacity = 0.3 + 0.7 * np.clip(scene.pred_scores, 0.0, 1.0)
    colors = np.tile(to_rgba(PREDICTION), (len(opacity), 1))
    colors[:, 3] = opacity
    _draw_boxes(axes, scene.pred_boxes, colors, width=1.4, zorder=6, fill=0.25)
    if scene.pred_velocities is not None:
        shades = np.tile(to_rgba(VELOCITY), (len(opacity), 1))
        shades[:, 3] = opacity
        _draw_arrows(axes, scene.pred_boxes[:, :2], scene.pred_velocities, shades)
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


def _draw_errors(axes: Axes, scene: BEVScene) -> None:
    """A ring round what was missed, a cross on what is not there."""
    if scene.missed is not None:
        ring = dict(markerfacecolor='none', markeredgecolor=MISSED, markeredgewidth=1.4)
        _draw_marks(axes, scene.gt_boxes[scene.missed], 'o', markersize=11.4, zorder=8, **ring)
    if scene.false_alarms is not None:
        cross = dict(color=FALSE_ALARM, markeredgewidth=1.8)
        _draw_marks(
            axes, scene.pred_boxes[scene.false_alarms], 'x', markersize=7.7, zorder=8, **cross
        )


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
        ),
        autolim=False,
    )
    axes.add_collection(
        LineCollection(ticks, colors=colors, linewidths=width, zorder=zorder), autolim=False
    )


def _draw_arrows(axes: Axes, starts: np.ndarray, ways: np.ndarray, colors: np.ndarray) -> None:
    """Arrows (N, 2) from (N, 2) starts, in colours (N, 4); no way, no arrow."""
    lengths = np.linalg.norm(ways, axis=1, keepdims=True)
    along = ways / np.maximum(lengths, 1e-9) * np.minimum(0.4 * lengths, 0.9)
    across = 0.6 * along[:, ::-1] * [-1.0, 1.0]
    tips = starts + ways
    lines = np.stack([starts, tips, tips - along + across, tips, tips - along - across], axis=1)
    moves = lengths[:, 0] > 0
    axes.add_collection(
        LineCollection(lines[moves], colors=colors[moves], linewidths=1.1, zorder=8),
        autolim=False,
    )


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
        LineCollection(lines, colors=color, linewidths=width, linestyles=[dashes], zorder=zorder),
        autolim=False,
    )


def _draw_marks(axes: Axes, positions: np.ndarray, marker: str, **style: Any) -> None:
    """The same mark at each of (N, 2+) positions, as one line: that is faster than a scatter."""
    x, y = positions[:, :2].T
    axes.add_artist(Line2D(x, y, linestyle='none', marker=marker, **style))


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
        axes.add_artist(
            Line2D(*beam.T, color=color, linewidth=1.6, solid_capstyle='round', zorder=8)
        )
    axes.add_artist(
        Polygon(shape + [x, y], facecolor=color, edgecolor=BACKGROUND, linewidth=1.0, zorder=9)
    )
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
