"""Masked reconstruction from above: input, what is left of it, what is made of that, the truth."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.dataset import pseudo_collate
from torch import nn

from ..structures import VEHICLE
from .clouds import cloud_image
from .objects import AGENT_COLORS, BACKGROUND, TEXT
from .scene import AgentView

__all__ = ['draw_reconstruction', 'reconstruct_and_draw']

_SEEN, _HIDDEN, _PREDICTED = '#5B6675', '#F2F5F8', '#FF5F2E'
_TITLE = 34  # pixels above each panel


def reconstruct_and_draw(model: nn.Module, data: dict, seed: int = 0, title: str = '') -> Figure:
    """Have a ``MaskedPretrainer`` hide and reconstruct a sample, and draw it.

    Args:
        model: in evaluation.
        data: the sample, as a pretraining config's data set gives it.
        seed: of the masks.
        title: plain facts, e.g. scenario and frame.
    """
    torch.manual_seed(seed)
    (found,) = model.reconstruct(pseudo_collate([data]))
    return draw_reconstruction(
        [cloud.cpu().numpy() for cloud in found.clouds],
        [mask.cpu().numpy() for mask in found.hidden],
        found.current,
        found.predicted.cpu().numpy(),
        found.truth.cpu().numpy(),
        view_range=model.limits[[0, 1, 3, 4]].tolist(),
        title=title,
    )


def draw_reconstruction(
    clouds: Sequence[np.ndarray],
    hidden: Sequence[np.ndarray],
    current: Sequence[int],
    predicted: np.ndarray,
    truth: np.ndarray,
    view_range: Sequence[float],
    title: str = '',
    width: int = 1600,
) -> Figure:
    """Draw four panels of one sample.

    Args:
        clouds: N*T arrays (P, 3), agent-major, metres, in the ego's current frame.
        hidden: N*T bool arrays (P,), which points were hidden.
        current: which of the clouds are current, one of each agent.
        predicted: (Q, 3) points that were put in the hidden places of the current frame.
        truth: (R, 3) hidden points of the current frame that were asked for.
        view_range: ``(x_min, y_min, x_max, y_max)`` in metres, ego frame.
        title: plain facts, e.g. scenario and frame.
        width: of the picture in pixels; its height follows.

    Returns:
        A figure with a canvas of its own; matplotlib's global state stays as it is.
    """
    frames = current[0] + 1
    agents = [list(range(i - frames + 1, i + 1)) for i in current]
    visible = [cloud[~mask] for cloud, mask in zip(clouds, hidden, strict=True)]
    colors = [AGENT_COLORS[i % len(AGENT_COLORS)] for i in range(len(agents))]
    everything = [np.concatenate([clouds[i] for i in own]) for own in agents]
    left = [np.concatenate([visible[i] for i in own]) for own in agents]
    seen = np.concatenate([visible[i] for i in current])
    share = sum(map(len, left)) / max(sum(map(len, everything)), 1)
    counts = f'{len(agents)} agents x {frames} frames'
    panels = (
        (f'input: {counts}', everything, colors),
        (f'masked input: {share:.0%} of the points', left, colors),
        (
            f'reconstruction: {len(predicted):,} points in the hidden cells, now',
            [seen, predicted],
            [_SEEN, _PREDICTED],
        ),
        (
            f'truth: {len(truth):,} hidden points that are asked for, now',
            [seen, truth],
            [_SEEN, _HIDDEN],
        ),
    )

    limits = np.asarray(view_range, dtype=np.float64)
    span = limits[2:] - limits[:2]
    panel = (width // 2, round(width / 2 * span[1] / span[0]))
    height = 2 * (panel[1] + _TITLE)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    for i, (text, layers, layer_colors) in enumerate(panels):
        column, row = i % 2, i // 2
        top = height - row * (panel[1] + _TITLE)
        axes = figure.add_axes(
            (column / 2, (top - _TITLE - panel[1]) / height, 0.5, panel[1] / height)
        )
        axes.set_axis_off()
        views = [AgentView('', VEHICLE, np.eye(4), points) for points in layers]
        axes.imshow(
            cloud_image(views, layer_colors, limits, panel),
            extent=limits[[0, 2, 1, 3]], aspect='auto', interpolation='nearest',
        )  # fmt: skip
        where = (column / 2 + 0.008, (top - _TITLE / 2) / height)
        figure.text(*where, text, color=TEXT, fontsize=11, va='center')
    figure.text(
        0.992, 1 - _TITLE / 2 / height, title, color=TEXT, fontsize=9, va='center', ha='right',
        parse_math=False,
    )  # fmt: skip
    return figure
