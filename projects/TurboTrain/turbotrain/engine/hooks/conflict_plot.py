"""Conflict between tasks over training, as a picture."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...visualization import save_figure

__all__ = ['ConflictPlotHook']

# Okabe and Ito's, told apart by the colour-blind.
_COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
_STYLES = ('-', '--', ':')


@HOOKS.register_module()
class ConflictPlotHook(Hook):
    """Draw what ``ConflictSuppressingOptimWrapper`` reports to ``conflict.png`` in the work dir.

    From above: the cosine of each pair of tasks in the suppressing updates, the share of conflicts
    among the last 100 of them, and each task's gradient norm. Drawn at the end of every epoch and
    of training, by the main process.

    Args:
        window: suppressing updates that a curve is smoothed over.
    """

    priority = 'LOW'

    def __init__(self, window: int = 20) -> None:
        self.window = window

    def after_train_epoch(self, runner: Runner) -> None:
        """Draw."""
        self._draw(runner)

    def after_train(self, runner: Runner) -> None:
        """Draw."""
        self._draw(runner)

    def _draw(self, runner: Runner) -> None:
        scalars = runner.message_hub.log_scalars
        if not is_main_process() or 'train/task_cosine' not in scalars:
            return

        def curves(prefix: str) -> dict[str, np.ndarray]:
            names = [name for name in scalars if name.startswith(prefix)]
            return {n[len(prefix) :]: np.asarray(scalars[n].data[0], dtype=float) for n in names}

        iterations = np.flatnonzero(curves('train/suppressing')['']) + 1
        figure = Figure(figsize=(9, 7.5), layout='constrained')
        above, middle, below = figure.subplots(3, 1, sharex=True)
        cosines = curves('train/cosine/')
        self._plot(above, iterations, cosines)
        reach = max((np.nanmax(np.abs(v), initial=0.1) for v in cosines.values()), default=0.1)
        above.axhline(0, color='grey', linewidth=0.8, zorder=0)
        above.set(title="cosine of two tasks' gradients; below 0 they conflict", ylabel='cosine')
        above.set_ylim(-min(1.0, 1.1 * reach), min(1.0, 1.1 * reach))
        rate = curves('train/conflict_rate')['']
        middle.plot(iterations[-len(rate) :], 100 * rate, color=_COLORS[0])
        middle.set(title='conflicts among the last 100 suppressing updates', ylabel='%')
        middle.set_ylim(-2, 102)
        self._plot(below, iterations, curves('train/task_norm/'))
        below.set(title="norm of each task's gradient where tasks meet", ylabel='norm')
        below.set(yscale='log', xlabel='training iteration')
        save_figure(figure, Path(runner.work_dir) / 'conflict.png')

    def _plot(self, axes: Axes, iterations: np.ndarray, curves: dict[str, np.ndarray]) -> None:
        """Every value as a dot, and the smoothed curve, beside a legend."""
        for number, (name, values) in enumerate(curves.items()):
            color = _COLORS[number % len(_COLORS)]
            style = _STYLES[number // len(_COLORS) % len(_STYLES)]
            at = iterations[-len(values) :]
            axes.plot(at, values, '.', color=color, alpha=0.35, markersize=5, markeredgewidth=0)
            axes.plot(at, self._smooth(values), style, color=color, label=name)
        axes.legend(
            title=f'mean over {self.window} updates', loc='upper left', bbox_to_anchor=(1.0, 1.0),
            frameon=False, fontsize='small', title_fontsize='small',
        )  # fmt: skip

    def _smooth(self, values: np.ndarray) -> np.ndarray:
        """Mean over the last ``window`` values, fewer at the beginning; NaN are no values."""
        known = ~np.isnan(values)
        ends = np.arange(1, len(values) + 1)
        begins = np.maximum(ends - self.window, 0)

        def window_sum(of: np.ndarray) -> np.ndarray:
            sums = np.cumsum(np.concatenate([[0.0], of]))
            return sums[ends] - sums[begins]

        count = window_sum(known)
        total = window_sum(np.where(known, values, 0.0))
        return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
