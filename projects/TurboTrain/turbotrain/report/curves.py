"""Charts of what training and validation logged, and of robustness and precision."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .charts import Curve, LineChart, line_chart
from .scalars import Series
from .scoring import Scores
from .work_dir import Run

__all__ = [
    'ChartGroup',
    'precision_charts',
    'robustness_charts',
    'training_groups',
    'validation_charts',
]


class ChartGroup(NamedTuple):
    """Charts under one heading."""

    title: str
    note: str
    charts: list[LineChart]


class _Rule(NamedTuple):
    """Which names make a group."""

    title: str
    note: str
    holds: Callable[[str], bool]


_CONFLICT = ('task_cosine', 'conflict_rate', 'cosine/', 'task_norm/', 'task_weight/', 'balance/')
_RULES = (
    _Rule('Losses', '', lambda name: 'loss' in name),
    _Rule(
        'Learning rate and gradient',
        '',
        lambda name: name in ('lr', 'base_lr', 'momentum', 'grad_norm') or name.endswith('/lr'),
    ),
    _Rule(
        'Conflict between tasks',
        'Of the last suppressing update before each entry of the log.',
        lambda name: name.startswith(_CONFLICT),
    ),
    _Rule('Speed and memory', '', lambda name: name in ('time', 'data_time', 'memory')),
    _Rule('More', '', lambda name: True),
)
# What isn't smoothed.
_EXACT = frozenset(('lr', 'base_lr', 'conflict_rate', 'memory'))
_MOST_CORNERS = 500  # of a curve of precision over recall
_SMOOTHED = 25  # windows in a curve
# 0 or 1 at every update: conflict_rate says it better.
_LEFT_OUT = frozenset(('task_conflict', 'suppressing'))
_TITLES = {
    'lr': 'learning rate',
    'task_cosine': "lowest cosine of two tasks' gradients",
    'conflict_rate': 'share of conflicts, last 100 updates',
    'time': 's per iteration',
    'data_time': 's waiting for data per iteration',
    'memory': 'memory, MB',
    'grad_norm': 'norm of the gradient',
}
_PREFIXES = {
    'cosine/': 'cosine: ',
    'task_norm/': 'gradient norm: ',
    'task_weight/': 'weight in the update: ',
    'balance/': 'weight of the loss: ',
}
_VALIDATED = ('mAP@', 'AP@0.5/', 'EPA', 'ADE', 'FDE', 'MR', 'loss')
_ROBUSTNESS_METRICS = {
    'AP@0.5/vehicle': 'AP@0.5 of vehicles, %', 'mAP@0.5': 'mAP@0.5, %', 'EPA': 'EPA, %',
}  # fmt: skip
# Title and unit of robustness.py's sweeps.
_SWEEPS = {
    'position': ('noise of positions', 'm'),
    'heading': ('noise of headings', 'deg'),
    'delay': ('delay', 'ms'),
    'dropout': ('silent agents', '%'),
    'compression': ('compression', 'times'),
}


def training_groups(runs: Sequence[Run]) -> list[ChartGroup]:
    """Charts of everything that training logged, one for each name."""
    series = [run.scalars.training_series() for run in runs]
    names = [n for n in dict.fromkeys(n for own in series for n in own) if n not in _LEFT_OUT]
    names.sort(key=lambda name: name != 'loss')  # the sum first
    found: dict[str, list[LineChart]] = {rule.title: [] for rule in _RULES}
    for name in names:
        rule = next(rule for rule in _RULES if rule.holds(name))
        cosine = 'cosine' in name
        chart = _chart(
            _title(name), [own.get(name) for own in series], runs, 'iteration',
            y_range=(-0.1, 0.1) if cosine else (0.0, 1.0) if name == 'conflict_rate' else None,
            log=name.startswith('task_norm/'), smooth=name not in _EXACT,
        )  # fmt: skip
        if chart:
            found[rule.title].append(chart)
    groups = []
    for rule in _RULES:
        charts, note = found[rule.title], rule.note
        if any(line.curve.faint for chart in charts for line in chart.lines):
            note = f'{note} Faint: as logged; strong: the mean of neighbours.'.strip()
        if charts:
            groups.append(ChartGroup(rule.title, note, charts))
    return groups


def validation_charts(runs: Sequence[Run]) -> list[LineChart]:
    """Charts of the main metrics, where a run has validated more than once."""
    series = [run.scalars.validation_series() for run in runs]
    names = dict.fromkeys(
        n for own in series for n in own
        if n.startswith(_VALIDATED) and not n.endswith('m') and '_' not in n
        and ('/' not in n or n.startswith('AP@'))
    )  # fmt: skip
    charts = [
        _chart(name, [own.get(name) for own in series], runs, 'iteration')
        for name in names
        if any(name in own and len(own[name].steps) > 1 for own in series)
    ]
    return [chart for chart in charts if chart]


def _title(name: str) -> str:
    for prefix, title in _PREFIXES.items():
        if name.startswith(prefix):
            return title + name.removeprefix(prefix).replace('~', ' and ')
    return _TITLES.get(name, name)


def _chart(
    title: str,
    series: Sequence[Series | None],
    runs: Sequence[Run],
    x_label: str,
    y_range: tuple[float, float] | None = None,
    log: bool = False,
    smooth: bool = False,
) -> LineChart | None:
    """One curve for each run that has the name; None if none has a finite value.

    With ``smooth``, long ones are drawn as they are, faintly, and smoothed.
    """
    curves = []
    for i, (run, own) in enumerate(zip(runs, series, strict=True)):
        if own is None or not np.isfinite(own.values).any():
            continue
        curve = Curve(i, run.name, own.steps, own.values)
        window = len(own.steps) // _SMOOTHED
        if smooth and window > 1:
            curves.append(replace(curve, faint=True))
            curve = replace(curve, y=_smoothed(own.values, window))
        curves.append(curve)
    # What is behind first.
    curves.sort(key=lambda curve: not curve.faint)
    return line_chart(title, curves, x_label, y_range=y_range, log=log) if curves else None


def _smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the neighbours of each value, fewer at the ends; NaN are no values."""
    kernel, known = np.ones(window), np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), kernel, 'same')
    count = np.convolve(known, kernel, 'same')
    return np.divide(total, count, out=np.full(len(values), np.nan), where=known & (count > 0))


def robustness_charts(runs: Sequence[Run]) -> list[ChartGroup]:
    """Metrics over each disturbance, of the runs that were tested with it."""
    swept = {i: run.robustness['sweeps'] for i, run in enumerate(runs) if run.robustness}
    groups = []
    for sweep in dict.fromkeys(name for own in swept.values() for name in own):
        title, unit = _SWEEPS.get(sweep, (sweep, ''))
        axis = f'{title} ({unit})' if unit else title
        own = {i: sweeps[sweep] for i, sweeps in swept.items() if sweeps.get(sweep)}
        charts = [
            chart
            for name, label in _ROBUSTNESS_METRICS.items()
            if (chart := _sweep_chart(label, name, own, runs, axis, sweep == 'compression'))
        ]
        if charts:
            groups.append(ChartGroup(title.capitalize(), '', charts))
    return groups


def _sweep_chart(
    label: str,
    metric: str,
    found: Mapping[int, Mapping[str, Mapping]],
    runs: Sequence[Run],
    x_label: str,
    doubling: bool,
) -> LineChart | None:
    curves, names = [], {}
    for i, by_value in found.items():
        values = np.array([float(value) for value in by_value])
        order = values.argsort()
        metrics = [by_value[value].get(metric) for value in by_value]
        y = np.array([np.nan if m is None else m for m in metrics], dtype=float)[order]
        x = np.log2(values[order]) if doubling else values[order]
        if doubling:
            names |= dict(zip(x.tolist(), (f'{value:g}' for value in values[order]), strict=True))
        if np.isfinite(y).any():
            curves.append(Curve(i, runs[i].name, x, y))
    if not curves:
        return None
    return line_chart(label, curves, x_label, y_range=(0.0, 1.0), x_names=names or None)


def precision_charts(scores: Mapping[int, Scores], runs: Sequence[Run]) -> list[LineChart]:
    """Precision over recall, a chart for each class, a line for each run and IoU threshold."""
    classes = dict.fromkeys(name for own in scores.values() for name in own.curves)
    charts = []
    for name in classes:
        own = {i: found.curves[name] for i, found in scores.items() if name in found.curves}
        thresholds = sorted({threshold for curves in own.values() for threshold in curves})
        # A run that finds nothing has a dot at the origin.
        curves = [
            Curve(i, f'IoU {t:g}', *_steps(*curve), thresholds.index(t), faint=not len(curve[0]))
            for i, by_threshold in own.items()
            for t, curve in by_threshold.items()
        ]
        title = f'{name}: nothing found' if all(curve.faint for curve in curves) else name
        dashes = [(dash, f'IoU {threshold:g}') for dash, threshold in enumerate(thresholds)]
        full = (0.0, 100.0)
        charts.append(line_chart(title, curves, 'recall (%)', full, full, dash_names=dashes))
    return charts


def _steps(recall: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the curve: from recall 0 on, and down to 0 where nothing more is found."""
    x = np.concatenate([[0.0], np.repeat(recall, 2)])
    y = np.concatenate([np.repeat(precision, 2), [0.0]])
    # Those within a level stretch say nothing, and a picture shows no more than so many.
    inner = np.zeros(len(y), dtype=bool)
    inner[1:-1] = (y[:-2] == y[1:-1]) & (y[1:-1] == y[2:])
    corners = np.flatnonzero(~inner)
    if len(corners) > _MOST_CORNERS:
        chosen = np.linspace(0, len(corners) - 1, _MOST_CORNERS).round().astype(int)
        corners = corners[chosen]
    return x[corners], y[corners]
