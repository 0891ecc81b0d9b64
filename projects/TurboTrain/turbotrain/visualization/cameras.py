"""Boxes, paths and clouds in the pictures of all cameras of a sample, on one page."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..structures import BOX_EDGES, NEAR, ahead_part, corners_of, project, transform_points
from .bev import HEADER, agent_colors, write_header
from .camera_scene import CameraScene, CameraView
from .legend import FOOTER, LegendEntry, write_legend
from .objects import AGENT_COLORS, BACKGROUND, FALSE_ALARM, MISSED, PREDICTION, TRUTH

__all__ = ['CLASS_COLORS', 'draw_cameras']

CLASS_COLORS = (PREDICTION, FALSE_ALARM, MISSED, *AGENT_COLORS)
"""Colours of the classes, in their order; they are used again where there are more."""
_FRONT = [0, 1, 5, 4]  # corners of the face at the front
_GAP = 3.0  # pixels between pictures
_FARTHEST = 60.0  # m, of a point's colour
_STEEPEST = 0.1  # of the ground


def draw_cameras(
    scene: CameraScene, size: tuple[int, int] = (1600, 900), points: bool = False
) -> Figure:
    """Draw what is known of a sample into the pictures of its cameras.

    Ground truth has thin lines and predictions thick ones, as opaque as their scores; colours tell
    classes. The front of a box is filled. Paths lie on the ground.

    Args:
        scene: what to draw.
        size: width and height in pixels.
        points: draw each agent's cloud into its own pictures, coloured by distance.

    Returns:
        A figure with a canvas of its own; matplotlib's global state stays as it is.
    """
    width, height = size
    dpi = height / 9.0
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    colors = agent_colors(scene.scene)
    slope = _slope_of(np.concatenate([scene.gt_boxes, scene.pred_boxes]))
    for view, place in zip(scene.views, _places(scene.views, size), strict=True):
        axes = figure.add_axes(place)
        _draw_view(axes, scene, view, slope, points)
        axes.text(
            0.015, 0.965, f'{scene.scene.agents[view.agent].name} · {view.name}',
            transform=axes.transAxes, va='top', color=colors[view.agent], fontsize=9.5,
            fontweight='bold', parse_math=False,
            path_effects=[withStroke(linewidth=2.5, foreground=BACKGROUND)],
        )  # fmt: skip
    write_header(figure, scene.scene)
    write_legend(figure, _legend_entries(scene, points))
    return figure


def _places(views: Sequence[CameraView], size: tuple[int, int]) -> list[tuple[float, ...]]:
    """Left, bottom, width and height of each picture, in shares of a page of a size in pixels.

    They stand in the grid in which they are largest, closely together.
    """
    page = np.array(size, dtype=np.float64)
    room = page * (1.0, 1.0 - HEADER - FOOTER)
    largest = np.max([view.image.shape[1::-1] for view in views], axis=0)

    def scale(columns: int) -> float:
        return min(room / (columns, -(-len(views) // columns)) / largest)

    columns = max(range(1, len(views) + 1), key=scale)
    step = scale(columns) * largest
    rows = -(-len(views) // columns)
    left, top = (room - step * (columns, rows)) / 2 + page * (0.0, HEADER)
    corners = [(left + step[0] * (i % columns), top + step[1] * (i // columns + 1))
               for i in range(len(views))]  # fmt: skip
    return [(x / page[0], 1.0 - y / page[1], *(step - _GAP) / page) for x, y in corners]


def _draw_view(
    axes: Axes, scene: CameraScene, view: CameraView, slope: np.ndarray, points: bool
) -> None:
    height, width = view.image.shape[:2]
    axes.set_axis_off()
    axes.imshow(view.image, interpolation='bilinear', zorder=0)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    if points:
        _draw_points(axes, view, scene.scene.agents[view.agent].points)
    own, here = scene.scene, scene.scene.agents[view.agent].ego_from_agent[:2, 3]
    for boxes, labels, opacity, line, futures, scores in (
        (scene.gt_boxes, scene.gt_labels, np.full(len(scene.gt_boxes), 0.9), 0.8,
         None if own.gt_futures is None else own.gt_futures[:, None], None),
        (scene.pred_boxes, scene.pred_labels, 0.3 + 0.7 * np.clip(own.pred_scores, 0.0, 1.0), 1.6,
         own.pred_futures, own.pred_mode_scores),
    ):  # fmt: skip
        seen = ~_over(boxes, here)
        shades = np.array([to_rgba(CLASS_COLORS[k % len(CLASS_COLORS)]) for k in labels[seen]])
        shades = shades.reshape(-1, 4)
        shades[:, 3] = opacity[seen]
        _draw_boxes(axes, view, boxes[seen], shades, line)
        if futures is not None:
            paths = _paths(boxes, futures, scores, slope)[seen]
            _draw_paths(axes, view, paths, shades, 1.3 * line)


def _over(boxes: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(N,) whether boxes (N, 7) lie under a place (2,): the vehicle that carries a camera."""
    x, y = (place - boxes[:, :2]).T
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    along, across = np.abs(cos * x + sin * y), np.abs(cos * y - sin * x)
    return (along <= boxes[:, 3] / 2) & (across <= boxes[:, 4] / 2)


def _draw_boxes(
    axes: Axes, view: CameraView, boxes: np.ndarray, shades: np.ndarray, line: float
) -> None:
    """The edges of boxes (N, 7) in colours (N, 4), the face at the front filled."""
    corners = transform_points(view.camera_from_ego, corners_of(boxes))
    segments, kept = ahead_part(corners[:, BOX_EDGES].reshape(-1, 2, 3))
    _draw_lines(axes, view, segments, shades[kept // len(BOX_EDGES)], line, zorder=4)
    fronts = corners[:, _FRONT]
    whole = (fronts[..., 2] >= NEAR).all(1)
    axes.add_collection(
        PolyCollection(
            project(view.intrinsics, fronts[whole]),
            facecolors=shades[whole] * [1.0, 1.0, 1.0, 0.3],
            linewidths=0.0,
            zorder=3,
        ),
        autolim=False,
    )


def _paths(
    boxes: np.ndarray, futures: np.ndarray, mode_scores: np.ndarray | None, slope: np.ndarray
) -> np.ndarray:
    """(N, 1 + F, 3) on the ground, from the bottoms of boxes (N, 7); the likeliest mode alone.

    Args:
        boxes: where the objects are now.
        futures: (N, K, F, 2) where they will be.
        mode_scores: (N, K); None where there is one mode.
        slope: (2,) how the ground rises.
    """
    rows = np.arange(len(boxes))
    mode = np.zeros_like(rows) if mode_scores is None else mode_scores.argmax(1)
    now = boxes[:, None, :2]
    path = np.concatenate([now, futures[rows, mode]], axis=1)
    z = boxes[:, None, 2] + (path - now) @ slope
    return np.concatenate([path, z[..., None]], axis=2)


def _draw_paths(
    axes: Axes, view: CameraView, paths: np.ndarray, shades: np.ndarray, line: float
) -> None:
    """Paths (N, T, 3) in colours (N, 4), from one known place to the next."""
    paths = transform_points(view.camera_from_ego, paths)
    steps = np.stack([paths[:, :-1], paths[:, 1:]], axis=2)
    segments, kept = ahead_part(steps.reshape(-1, 2, 3))
    _draw_lines(axes, view, segments, shades[kept // steps.shape[1]], line, zorder=5)


def _draw_lines(
    axes: Axes,
    view: CameraView,
    segments: np.ndarray,
    shades: np.ndarray,
    line: float,
    zorder: int,
) -> None:
    """Lines (S, 2, 3) of the camera's frame, those far away first."""
    order = np.argsort(-segments[..., 2].min(1), kind='stable')
    axes.add_collection(
        LineCollection(
            project(view.intrinsics, segments[order]),
            colors=shades[order],
            linewidths=line,
            capstyle='round',
            zorder=zorder,
        ),
        autolim=False,
    )


def _draw_points(axes: Axes, view: CameraView, points: np.ndarray) -> None:
    """A cloud (P, 3+) of the ego's frame, coloured by the distance ahead of the camera."""
    found = transform_points(view.camera_from_ego, points[:, :3].astype(np.float64))
    found = found[np.isfinite(found).all(1) & (found[:, 2] >= NEAR)]
    found = found[np.argsort(-found[:, 2], kind='stable')]
    place = project(view.intrinsics, found)
    height, width = view.image.shape[:2]
    inside = ((place > -0.5) & (place < [width - 0.5, height - 0.5])).all(1)
    shades = _shades(found[inside, 2])
    axes.scatter(*place[inside].T, s=1.2, color=shades, linewidths=0.0, zorder=2)


def _shades(distance: np.ndarray) -> np.ndarray:
    """(P, 4) colours of distances (P,), metres."""
    return colormaps['turbo'](1.0 - np.sqrt(np.clip(distance / _FARTHEST, 0.0, 1.0)))


def _slope_of(boxes: np.ndarray) -> np.ndarray:
    """(2,) how the ground rises along x and y of the ego's frame, by the bottoms of boxes (N, 7).

    The ego's LiDAR is tilted, so that even a level road rises in its frame.
    """
    if len(boxes) < 4:
        return np.zeros(2)
    plane = np.column_stack([boxes[:, :2], np.ones(len(boxes))])
    found = np.linalg.lstsq(plane, boxes[:, 2], rcond=1e-3)[0][:2]
    return np.clip(found, -_STEEPEST, _STEEPEST)


def _legend_entries(scene: CameraScene, points: bool) -> list[LegendEntry]:
    """Classes that there are, then what the lines and points mean."""
    there = np.unique(np.concatenate([scene.gt_labels, scene.pred_labels])).astype(np.int64)
    entries = [
        LegendEntry(scene.classes[k], CLASS_COLORS[k % len(CLASS_COLORS)], marker='s')
        for k in there
    ]
    entries.append(LegendEntry('ground truth', TRUTH, 0.8, 'solid'))
    if len(scene.pred_boxes):
        entries.append(LegendEntry('prediction', TRUTH, 2.2, 'solid'))
    for distance in (0.0, _FARTHEST / 4, _FARTHEST) if points else ():
        shade = to_hex(_shades(np.array([distance]))[0])
        entries.append(LegendEntry(f'point {distance:g} m ahead', shade, marker='o'))
    return entries
