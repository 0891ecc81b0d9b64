"""Scenes one after another as frames of a video, several times faster than as stills."""

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from ..errors import SettingError
from ..whole_file import whole_file
from .bev import agent_colors, draw_scale_bar, open_page, write_header
from .clouds import cloud_image
from .lanes import draw_lanes
from .legend import LegendEntry, legend_entries, write_legend
from .objects import draw_objects
from .scene import BEVScene

__all__ = ['VIDEO_SUFFIXES', 'BEVAnimation', 'write_video']

VIDEO_SUFFIXES = ('.mp4', '.gif')
# Frames with palettes of their own would flicker, and dithering triple the size.
_ONE_PALETTE = 'split[a][b];[a]palettegen=max_colors=160[p];[b][p]paletteuse=dither=none'


class BEVAnimation:
    """Draws scenes as :func:`~.bev.draw_bev` does, on one page that is used again and again.

    The legend is drawn once, clouds are blended into the page without matplotlib's resampling, and
    only what a scene adds is drawn anew.

    Args:
        view_range: ``(x_min, y_min, x_max, y_max)`` in metres, ego frame.
        size: width and height in pixels.
    """

    def __init__(self, view_range: Sequence[float], size: tuple[int, int] = (1280, 720)) -> None:
        self._page = open_page(view_range, size)
        draw_scale_bar(self._page.axes, self._page.limits)
        self._legend: list[LegendEntry] | None = None
        self._colors: dict[str, str] = {}
        self._background = np.zeros(0, dtype=np.uint8)
        self._static = set(self._page.axes.get_children())

    def frame(self, scene: BEVScene) -> np.ndarray:
        """Draw a scene.

        Returns:
            (height, width, 3) uint8, an array of its own.
        """
        page, colors = self._page, agent_colors(scene, self._colors)
        self._prepare(scene, colors)
        picture = np.asarray(page.figure.canvas.buffer_rgba())
        picture[:] = self._background
        draw_lanes(page.axes, scene)
        self._draw_added()
        top, width, height = page.panel
        cloud = cloud_image(scene.agents, colors, page.limits, (width, height))
        panel = picture[top : top + height].reshape(-1, 4)
        there = np.flatnonzero(cloud[..., 3])
        color, opacity = np.split(cloud.reshape(-1, 4)[there], [3], axis=1)
        panel[there, :3] = panel[there, :3] * (1.0 - opacity) + 255.0 * opacity * color
        draw_objects(page.axes, scene, colors)
        self._draw_added()
        for text in write_header(page.figure, scene):
            text.draw(page.figure.canvas.get_renderer())
            text.remove()
        return cv2.cvtColor(picture, cv2.COLOR_RGBA2RGB)

    def _prepare(self, scene: BEVScene, colors: Sequence[str]) -> None:
        """Draw the legend, unless the last scene had the same."""
        figure, entries = self._page.figure, legend_entries(scene, colors)
        if entries == self._legend:
            return
        for legend in figure.legends[:]:
            legend.remove()
        write_legend(figure, entries)
        figure.canvas.draw()
        self._background = np.array(figure.canvas.buffer_rgba())
        self._legend = entries

    def _draw_added(self) -> None:
        """Draw what was added to the axes, from below to above, and take it out again."""
        axes, renderer = self._page.axes, self._page.figure.canvas.get_renderer()
        added = [artist for artist in axes.get_children() if artist not in self._static]
        for artist in sorted(added, key=lambda artist: artist.zorder):
            artist.draw(renderer)
            artist.remove()


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write frames as they come; makes the folder if need be.

    Args:
        path: ends with ``.mp4`` (H.264) or ``.gif``.
        frames: (height, width, 3) uint8 each, all of one even size.
        fps: frames a second.

    Raises:
        ValueError: the path has another ending, or there is no frame.
    """
    path = Path(path)
    if path.suffix not in VIDEO_SUFFIXES:
        raise SettingError(f'{path}: expected one of {VIDEO_SUFFIXES}, got {path.suffix!r}')
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f'{path}: there is no frame to write')
    height, width, _ = first.shape
    options = dict(codec='libx264', quality=7, output_params=['-f', 'mp4'])
    if path.suffix == '.gif':
        palette = ['-vf', _ONE_PALETTE, '-f', 'gif']
        options = dict(codec='gif', pix_fmt_out='pal8', output_params=palette)
    with whole_file(path) as file:
        writer = imageio_ffmpeg.write_frames(
            file.name, (width, height), fps=fps, macro_block_size=2, **options
        )
        writer.send(None)
        try:
            for frame in chain([first], frames):
                writer.send(np.ascontiguousarray(frame))
        finally:
            writer.close()
