"""Charts as geometry; ``resources/charts.html.j2`` makes inline SVG of it.

A chart is drawn for the width of a phone and put into a grid, so that letters are equally large
everywhere. Colours are the page's, by number of the run, and so follow its theme; runs are told
apart by the letter at the end of their line, too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

__all__ = ['Curve', 'LineChart', 'letter', 'line_chart', 'short']

WIDTH, HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 22, 10, 34
_MOST_POINTS = 200
_FEW_POINTS = 12  # that are worth a dot each
_LETTER_SIZE = 11.0


def letter(run: int) -> str:
    """How charts and tables call a run."""
    return 'ABCDEFGH'[run]


def short(value: float) -> str:
    """A number with four digits at most."""
    if not math.isfinite(value):
        return '–'
    for limit, unit in ((1e9, 'G'), (1e6, 'M'), (1e4, 'k')):
        if abs(value) >= limit:
            return f'{value / (1e3 if unit == "k" else limit):.4g}{unit}'
    return f'{value:.4g}'


@dataclass(frozen=True)
class Curve:
    """A line.

    Attributes:
        run: number of the run, which decides the colour and the letter.
        name: what the legend and the reading of values call it.
        x: (N,) rising.
        y: (N,); NaN leaves a gap.
        dash: number of the dash pattern, 0 is solid.
        faint: the background of another curve: without a letter, and not read.
    """

    run: int
    name: str
    x: np.ndarray
    y: np.ndarray
    dash: int = 0
    faint: bool = False


@dataclass(frozen=True)
class Line:
    """A curve in the coordinates of the picture.

    Attributes:
        curve: what it shows.
        pieces: ``points`` of SVG polylines; gaps lie between them.
        dots: positions of points where there are few, and of those without neighbours.
        end: position of the letter.
    """

    curve: Curve
    pieces: list[str]
    dots: list[tuple[float, float]]
    end: tuple[float, float] | None


@dataclass(frozen=True)
class LineChart:
    """Several curves over one axis.

    Attributes:
        title: of the chart.
        text: the same in words, for those who don't see it.
        x_label: unit of the x axis.
        lines: the curves.
        x_ticks: position and label.
        y_ticks: position and label.
        x_span: values at the left and the right end.
        y_span: values at the lower and the upper end; their logarithms if ``log``.
        log: whether the y axis is logarithmic.
        named: whether what is below the x axis are names and not a scale.
        zero: position of a line at zero, if that is inside.
        dash_names: numbers of dash patterns and what they mean.
        last: run and last value of each curve, if each run has one.
        size, box: width and height; left, top, right and bottom of the axes.
    """

    title: str
    text: str
    x_label: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_span: tuple[float, float]
    y_span: tuple[float, float]
    log: bool
    named: bool
    zero: float | None
    dash_names: tuple[tuple[int, str], ...] = ()
    last: tuple[tuple[int, str], ...] = ()
    size: tuple[int, int] = (WIDTH, HEIGHT)
    box: tuple[int, int, int, int] = (_LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM)


def line_chart(
    title: str,
    curves: Sequence[Curve],
    x_label: str,
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
    log: bool = False,
    x_names: Mapping[float, str] | None = None,
    dash_names: Sequence[tuple[int, str]] = (),
) -> LineChart:
    """Lay a chart out.

    Args:
        title: of the chart.
        curves: at least one with a finite value; many points are averaged to 200 without dashes.
        x_label: unit of the x axis.
        y_range: what the y axis shows at least; that of the values by default.
        x_range: the same for the x axis.
        log: logarithmic y axis, if all values are above 0.
        x_names: what is written below the x axis, by value; round numbers by default.
        dash_names: numbers of dash patterns and what they mean, for the legend.
    """
    if not dash_names:
        curves = [_thinned(curve) for curve in curves]
    xs = np.concatenate([curve.x for curve in curves])
    ys = np.concatenate([curve.y for curve in curves])
    ys = ys[np.isfinite(ys)]
    log = log and bool((ys > 0).all())
    x_span = _span(xs, x_range)
    y_span = _span(np.log10(ys) if log else ys, y_range, margin=0.06)
    left, top, right, bottom = LineChart.box

    def across(x: np.ndarray | float) -> np.ndarray | float:
        return left + (x - x_span[0]) / (x_span[1] - x_span[0]) * (right - left)

    def down(y: np.ndarray | float) -> np.ndarray | float:
        return bottom - (y - y_span[0]) / (y_span[1] - y_span[0]) * (bottom - top)

    names = x_names or {x: short(x) for x in _ticks(x_span, 6)}
    lines = []
    for curve in curves:
        heights = down(np.log10(curve.y) if log else curve.y)
        few = len(curve.x) <= _FEW_POINTS and not dash_names
        lines.append(_line(curve, across(curve.x), heights, few))
    return LineChart(
        title=title,
        text=_in_words(title, curves, x_label),
        x_label=x_label,
        lines=_with_ends_apart(lines),
        x_ticks=[(float(across(x)), text) for x, text in names.items()],
        y_ticks=[
            (float(down(math.log10(y) if log else y)), short(y)) for y in _ticks(y_span, 5, log)
        ],
        x_span=x_span,
        y_span=y_span,
        log=log,
        named=bool(x_names),
        zero=float(down(0.0)) if not log and y_span[0] < 0.0 < y_span[1] else None,
        dash_names=tuple(dash_names),
        last=() if dash_names else tuple(_last(curve) for curve in curves if not curve.faint),
    )


def _thinned(curve: Curve) -> Curve:
    """Means of equally many neighbours; the last point stays, so that the end is exact."""
    size = math.ceil(len(curve.x) / _MOST_POINTS)
    if size == 1:
        return curve
    groups = np.split(np.arange(len(curve.x)), np.arange(size, len(curve.x), size))
    known = [group[np.isfinite(curve.y[group])] for group in groups]
    x = [curve.x[group].mean() for group in groups[:-1]]
    y = [curve.y[group].mean() if len(group) else np.nan for group in known[:-1]]
    return replace(curve, x=np.array([*x, curve.x[-1]], dtype=float), y=np.array([*y, curve.y[-1]]))


def _span(
    values: np.ndarray, least: tuple[float, float] | None, margin: float = 0.0
) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if least is not None:
        low, high = min(low, least[0]), max(high, least[1])
    elif high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    else:
        room = margin * (high - low)
        low, high = low - room, high + room
    return low, high


def _ticks(span: tuple[float, float], count: int, log: bool = False) -> list[float]:
    low, high = span
    if log and high - low > 0.5:
        found = LogLocator(subs=(1.0,) if high - low > 2.5 else (1.0, 2.0, 5.0), numticks=20)
        ticks = found.tick_values(10**low, 10**high)
        return [float(tick) for tick in ticks if 10**low <= tick <= 10**high]
    ends = (10**low, 10**high) if log else span
    ticks = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(*ends)
    # Rounded: a tick at 0 may come out as 1e-17.
    ticks = np.round(ticks, 12)
    return [float(tick) for tick in ticks if ends[0] <= tick <= ends[1] and (tick > 0 or not log)]


def _line(curve: Curve, xs: np.ndarray, ys: np.ndarray, few: bool) -> Line:
    known = np.isfinite(ys)
    pieces, dots, end = [], [], None
    for piece in np.split(np.arange(len(xs)), np.flatnonzero(np.diff(known)) + 1):
        if len(piece) and known[piece[0]]:
            points = [(round(float(xs[i]), 2), round(float(ys[i]), 2)) for i in piece]
            if len(points) == 1 or few:
                dots += points
            if len(points) > 1:
                pieces.append(' '.join(f'{x:g},{y:g}' for x, y in points))
            end = points[-1]
    return Line(curve, pieces, dots, end)


def _last(curve: Curve) -> tuple[int, str]:
    known = curve.y[np.isfinite(curve.y)]
    return curve.run, short(known[-1]) if len(known) else '–'


def _with_ends_apart(lines: list[Line]) -> list[Line]:
    """Letters at the ends of lines, the upper ones moved up until none covers another."""
    placed: dict[int, tuple[float, float]] = {}
    for i in sorted(range(len(lines)), key=lambda i: -lines[i].end[1] if lines[i].end else 0.0):
        if lines[i].end is None or lines[i].curve.faint:
            continue
        x, y = lines[i].end
        for other_x, other_y in sorted(placed.values(), key=lambda at: -at[1]):
            if abs(x - other_x) < _LETTER_SIZE and abs(y - other_y) < _LETTER_SIZE:
                y = other_y - _LETTER_SIZE
        placed[i] = x, round(y, 1)
    return [replace(line, end=placed.get(i)) for i, line in enumerate(lines)]


def _in_words(title: str, curves: Sequence[Curve], x_label: str) -> str:
    sentences = []
    for curve in curves:
        known = np.flatnonzero(np.isfinite(curve.y))
        if not len(known) or curve.faint:
            continue
        first, last = known[0], known[-1]
        text = f'{letter(curve.run)}, {curve.name}: {short(curve.y[first])}'
        if last > first:
            text += f' to {short(curve.y[last])}'
        sentences.append(f'{text} at {short(curve.x[last])}')
    return f'{title} over {x_label}. {"; ".join(sentences)}.'
