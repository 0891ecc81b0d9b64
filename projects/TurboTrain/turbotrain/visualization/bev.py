"""A still of one sample from above, for slides and reports; needs no display."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from ..errors import SettingError
from ..whole_file import whole_file
from .clouds import cloud_image
from .lanes import draw_lanes
from .legend import FOOTER, legend_entries, write_legend
from .objects import AGENT_COLORS, BACKGROUND, TEXT, draw_objects
from .scene import BEVScene

__all__ = ['draw_bev', 'picture_of', 'save_figure']

HEADER = 0.072
"""Share of the picture's height for the title."""


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
    page, colors = open_page(view_range, size), agent_colors(scene)
    axes, (_, width, height) = page.axes, page.panel
    draw_lanes(axes, scene)
    image = cloud_image(scene.agents, colors, page.limits, (width, height))
    axes.imshow(
        image, extent=page.limits[[0, 2, 1, 3]], aspect='auto', interpolation='nearest', zorder=2
    )
    draw_objects(axes, scene, colors)
    draw_scale_bar(axes, page.limits)
    write_header(page.figure, scene)
    write_legend(page.figure, legend_entries(scene, colors))
    return page.figure


class Page(NamedTuple):
    """An empty picture."""

    figure: Figure
    axes: Axes
    """In metres; its limits are fixed."""
    limits: np.ndarray
    """(4,) ``x_min, y_min, x_max, y_max``."""
    panel: tuple[int, int, int]
    """First row, width and height of the axes in pixels."""


def open_page(view_range: Sequence[float], size: tuple[int, int]) -> Page:
    """Make room for a title, a picture and a legend; see :func:`draw_bev`."""
    width, height = size
    dpi = height / 9.0
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    top, bottom = round(height * (1 - HEADER)), round(height * FOOTER)
    axes = figure.add_axes((0.0, bottom / height, 1.0, (top - bottom) / height))
    axes.set_axis_off()
    limits = _fit(view_range, width / (top - bottom))
    axes.set(xlim=limits[[0, 2]], ylim=limits[[1, 3]])
    return Page(figure, axes, limits, (height - top, width, top - bottom))


def agent_colors(scene: BEVScene, given: dict[str, str] | None = None) -> list[str]:
    """A colour for each agent.

    Args:
        scene: whose agents.
        given: colours by the agents' names, those of earlier pictures; new ones are added, so that
            an agent keeps its colour while others come and go.
    """
    given = {} if given is None else given
    for i, agent in enumerate(scene.agents):
        if agent.name not in given:
            worn = {given.get(other.name) for other in scene.agents}
            free = [color for color in AGENT_COLORS if color not in worn]
            given[agent.name] = free[0] if free else AGENT_COLORS[i % len(AGENT_COLORS)]
    return [given[agent.name] for agent in scene.agents]


def save_figure(figure: Figure, path: str | Path, dpi: float | None = None) -> None:
    """Write a figure at the size in pixels it was drawn for; makes the folder if need be.

    Args:
        figure: the figure.
        path: its ending says the format.
        dpi: dots per inch; the figure's own by default.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind, color = path.suffix[1:] or None, figure.get_facecolor()
    with whole_file(path) as file:
        figure.savefig(file, dpi=dpi or figure.dpi, facecolor=color, format=kind)


def picture_of(figure: Figure) -> np.ndarray:
    """(H, W, 3) uint8, a figure at the size in pixels it was drawn for."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def _fit(view_range: Sequence[float], proportion: float) -> np.ndarray:
    """(4,) the least range of a given width : height that has ``view_range`` in its middle."""
    limits = np.asarray(view_range, dtype=np.float64)
    low, high = limits[:2], limits[2:]
    if limits.shape != (4,) or not (low < high).all():
        raise SettingError(f'view_range: expected (x_min, y_min, x_max, y_max), got {view_range}')
    span = high - low
    span = np.maximum(span, [span[1] * proportion, span[0] / proportion])
    middle = (low + high) / 2
    return np.concatenate([middle - span / 2, middle + span / 2])


def draw_scale_bar(axes: Axes, limits: np.ndarray) -> None:
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


def write_header(figure: Figure, scene: BEVScene) -> list[Text]:
    """The title, and what there is to see in numbers."""
    middle = 1.0 - HEADER / 2
    title = figure.text(
        0.014, middle, scene.title, color='white', fontsize=15, fontweight='bold', va='center',
        parse_math=False,
    )  # fmt: skip
    counts = dict(
        agent=len(scene.agents),
        point=sum(len(agent.points) for agent in scene.agents),
        object=len(scene.gt_boxes),
        detection=len(scene.pred_boxes),
    )
    facts = [f'{count:,} {what}{"s" * (count != 1)}' for what, count in counts.items()]
    numbers = figure.text(
        0.986, middle, '   ·   '.join(facts), color=TEXT, fontsize=11, va='center', ha='right'
    )
    return [title, numbers]
