"""Draws the comparison of recipes as the paper's Figure 1 does, and EPA over training time."""

import itertools
import statistics
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from turbotrain.visualization import save_figure

__all__ = ['PAPER', 'draw', 'epa_over_time']

# Read off the picture in the authors' repository, to some tenths: AP@0.5 and EPA in %.
PAPER = {
    'one-time_sa-mf': {'joint': (55.1, 29.9)},
    'one-time_ma-sf': {'detection': (68.3, 0.0)},
    'one-time_ma-mf': {'joint': (39.0, 15.0)},
    'manual': {'S1': (45.2, 0.0), 'S2': (48.2, 20.2), 'S3': (57.4, 32.5), 'S4': (70.3, 42.8)},
    'turbotrain_pretraining-only': {'finetuning': (70.1, 43.4)},
    'turbotrain': {'finetuning': (72.2, 45.8)},
}
STYLES = {
    'one-time_sa-mf': ('one-time, ego alone', '#8D99AE', 's'),
    'one-time_ma-sf': ('one-time, one frame', '#8D99AE', '^'),
    'one-time_ma-mf_labelled-steps': ('one-time, all, labelled steps', '#6C4AB6', 'v'),
    'one-time_ma-mf': ('one-time, all', '#4A5568', 'o'),
    'manual': ('manual, four stages', '#2E86AB', 'o'),
    'turbotrain_pretraining-only': ('TurboTrain, pretraining only', '#F4A259', 'D'),
    'turbotrain': ('TurboTrain', '#E4572E', '*'),
}


def draw(results: dict, out: Path, title: str) -> None:
    """Write the picture.

    Args:
        results: by recipe, as ``figure1.py`` summarises them.
        out: file of the picture.
        title: of our results.
    """
    figure = Figure(figsize=(13, 4.4), layout='constrained')
    paper, ours, time = figure.subplots(1, 3)
    for name, stages in PAPER.items():
        _path(paper, name, [(*point, None, None) for point in stages.values()], list(stages))
    paper.set_title("The paper's Figure 1 (V2XPnP-Seq), read off it")
    for name, row in results.items():
        measured = {k: stage for k, stage in row['stages'].items() if 'ap50' in stage}
        points = [
            (stage['ap50'], stage['epa'], stage['std']['ap50'], stage['std']['epa'])
            for stage in measured.values()
        ]
        _path(ours, name, points, list(measured))
    ours.set_title(title)
    for axes in (paper, ours):
        axes.set(xlabel='AP@0.5 (%)', ylabel='EPA (%)')
    _over_time(time, results)
    for axes in (paper, ours, time):
        axes.grid(alpha=0.25)
        axes.spines[['top', 'right']].set_visible(False)
    handles = {
        label: handle
        for axes in (paper, ours)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    labels = [label for label, *_ in STYLES.values() if label in handles]
    figure.legend(
        [handles[label] for label in labels], labels,
        loc='outside lower center', ncols=4, frameon=False,
    )  # fmt: skip
    save_figure(figure, out, dpi=110)


def _path(axes: Axes, name: str, points: list[tuple], stages: list[str]) -> None:
    """A recipe's stages, joined by arrows; the last one is what counts."""
    label, color, marker = STYLES[name]
    for before, after in zip(points, points[1:], strict=False):
        axes.annotate(
            '', after[:2], before[:2],
            arrowprops=dict(arrowstyle='->', color=color, lw=1.4, shrinkA=6, shrinkB=6),
        )  # fmt: skip
    for i, ((x, y, dx, dy), stage) in enumerate(zip(points, stages, strict=True)):
        last = i == len(points) - 1
        axes.errorbar(
            x, y, yerr=dy, xerr=dx, fmt=marker, color=color, capsize=2, lw=1,
            markersize=13 if marker == '*' else 8, markerfacecolor=color if last else 'white',
            label=label if last else None,
        )  # fmt: skip
        if len(points) > 1:
            axes.annotate(stage, (x, y), (6, -12), textcoords='offset points', color=color)


def epa_over_time(row: dict) -> tuple[list[float], list[float]]:
    """EPA while a recipe trains.

    Args:
        row: the recipe's, as ``figure1.py`` summarises it.

    Returns:
        Seconds of training so far and EPA (%) on the validation split then, mean over the seeds;
        empty for a recipe without forecasts.
    """
    start, times, epa = 0.0, [], []
    for stage in row['stages'].values():
        # A seed may lack one: runs of earlier versions went on without what a kill had cut off.
        found: dict[float, list[float]] = {}
        for step, value, *_ in itertools.chain(*stage.get('curves', [])):
            found.setdefault(step, []).append(value)
        times += [start + step * stage['step_seconds'] for step in sorted(found)]
        epa += [statistics.mean(found[step]) for step in sorted(found)]
        start += stage['samples'] * stage['step_seconds']
    return (times, epa) if any(epa) else ([], [])


def _over_time(axes: Axes, results: dict) -> None:
    """The recipes' EPA over training time, and what the manual strategy ends with."""
    for name, row in results.items():
        label, color, _ = STYLES[name]
        times, epa = epa_over_time(row)
        axes.plot([t / 60 for t in times], epa, 'o-', color=color, label=label, markersize=4)
        if name == 'manual' and epa:
            axes.axhline(epa[-1], color=color, linestyle=':', linewidth=1)
    axes.set(xlabel='minutes of training', ylabel='EPA (%) on the validation split')
    axes.set_title('EPA against training time')
