"""Conflict between tasks over training, as a picture."""

from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

__all__ = ['ConflictPlotHook']


@HOOKS.register_module()
class ConflictPlotHook(Hook):
    """Draw what ``ConflictSuppressingOptimWrapper`` reports to ``conflict.png`` in the work dir.

    Above: the cosine of each pair of tasks in the suppressing updates. Below: the share of
    conflicts among the last 100 of them, and each task's gradient norm. Drawn at the end of every
    epoch and of training, by the main process.

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
        # Without pyplot: no window system, and no global state.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        def curves(prefix: str) -> dict[str, np.ndarray]:
            names = [name for name in scalars if name.startswith(prefix)]
            return {n[len(prefix) :]: np.asarray(scalars[n].data[0], dtype=float) for n in names}

        figure = Figure(figsize=(8, 7), layout='constrained')
        above, middle, below = figure.subplots(3, 1, sharex=True)
        for pair, values in curves('train/cosine/').items():
            above.plot(values, alpha=0.2, linewidth=0.7)
            above.plot(self._smooth(values), color=above.lines[-1].get_color(), label=pair)
        above.axhline(0, color='black', linewidth=0.7)
        above.set(ylabel='cosine of gradients', ylim=(-1, 1))
        middle.plot(curves('train/conflict_rate')[''], color='tab:red')
        middle.set(ylabel='share of conflicts', ylim=(0, 1))
        for task, values in curves('train/task_norm/').items():
            below.semilogy(self._smooth(values), label=task)
        below.set(ylabel='gradient norm', xlabel='suppressing update')
        for axes in (above, below):
            axes.legend(fontsize='small', ncols=3)
        FigureCanvasAgg(figure).print_png(str(Path(runner.work_dir) / 'conflict.png'))

    def _smooth(self, values: np.ndarray) -> np.ndarray:
        """Mean over the last ``window`` values, fewer at the beginning."""
        sums = np.cumsum(np.concatenate([[0.0], values]))
        ends = np.arange(1, len(values) + 1)
        begins = np.maximum(ends - self.window, 0)
        return (sums[ends] - sums[begins]) / (ends - begins)
