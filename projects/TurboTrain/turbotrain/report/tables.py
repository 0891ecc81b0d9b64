"""Tables: metrics with differences, and in what configs differ."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ['Cell', 'Row', 'config_differences', 'metric_groups']

_HEADLINES = (
    'mAP@0.3', 'mAP@0.5', 'mAP@0.7', 'EPA', 'mEPA', 'MR', 'ADE', 'FDE', 'minADE', 'minFDE',
    'message_bytes',
)  # fmt: skip
# By the name up to the first slash.
_LOWER_IS_BETTER = frozenset((
    'MR', 'ADE', 'FDE', 'minADE', 'minFDE', 'Brier_minFDE', 'EPA_misses', 'EPA_not_found',
    'EPA_false_alarms', 'message_bytes', 'yaw_error', 'yaw_reversed',
))  # fmt: skip
_YARDSTICKS = ('_stationary', '_constant_velocity', '_true_velocity')  # neither is better
_DISTANCE = re.compile(r'/[\d.]+-[\d.]+m$')
# By the whole name or its first word; percent otherwise.
_UNITS = {
    'ADE': 'm', 'FDE': 'm', 'minADE': 'm', 'minFDE': 'm', 'Brier': 'm', 'yaw_error': '°',
    'message_bytes': 'B',
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A value.

    Attributes:
        text: the value.
        difference: to the first run, with its sign; empty in the first run.
        verdict: ``better`` or ``worse`` than the first run, or empty.
        best: whether no other run is better, and one is worse.
    """

    text: str
    difference: str = ''
    verdict: str = ''
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A metric of all runs."""

    name: str
    unit: str
    cells: list[Cell]


def metric_groups(metrics: Sequence[Mapping[str, float]]) -> dict[str, list[Row]]:
    """Tables by title: first what papers report, then all the rest.

    Args:
        metrics: of each run, by name; the first is what the others are compared with.
    """
    names = list(dict.fromkeys(name for own in metrics for name in own))
    groups: dict[str, list[str]] = {'Headline': [name for name in _HEADLINES if name in names]}
    for name in names:
        if name not in groups['Headline']:
            groups.setdefault(_group(name), []).append(name)
    return {
        title: [_row(name, [own.get(name) for own in metrics]) for name in own_names]
        for title, own_names in groups.items()
        if own_names
    }


def _group(name: str) -> str:
    kind = name.partition('@')[0]
    if kind in ('AP_frame_order', 'mAP_frame_order'):
        return 'Average precision, frame after frame'
    if kind in ('AP', 'mAP'):
        return 'Average precision by distance' if _DISTANCE.search(name) else 'Average precision'
    if kind.startswith('yaw_'):
        return 'Headings'
    return 'Forecasts by class' if '/' in name else 'Forecasts'


def _row(name: str, values: Sequence[float | None]) -> Row:
    stem = name.partition('/')[0]
    lower, judged = stem in _LOWER_IS_BETTER, not stem.endswith(_YARDSTICKS)
    unit = _UNITS.get(stem) or _UNITS.get(stem.partition('_')[0], '%')
    known = [value for value in values if value is not None and math.isfinite(value)]
    top = (min if lower else max)(known) if len(set(known)) > 1 and judged else None
    first, cells = values[0], []
    for i, value in enumerate(values):
        if value is None or not math.isfinite(value):
            cells.append(Cell('–'))
            continue
        cell = dict(text=_number(value, unit), best=value == top)
        if i and first is not None and math.isfinite(first):
            change = value - first
            cell['difference'] = ('+' if change > 0 else '−') + _number(abs(change), unit)
            if not change:
                cell['difference'] = '±0'
            elif judged:
                cell['verdict'] = 'better' if (change < 0) == lower else 'worse'
        cells.append(Cell(**cell))
    return Row(name, unit, cells)


def _number(value: float, unit: str) -> str:
    return f'{value:,.0f}' if unit == 'B' else f'{value:.2f}' if unit == 'm' else f'{value:.1f}'


def config_differences(configs: Sequence[Mapping | None]) -> list[tuple[str, list[str]]]:
    """What not all configs agree in.

    Args:
        configs: of each run; None where there is none.

    Returns:
        Path of the value, and the value in each config: ``–`` where it isn't set. The work
        directory is left out: it always differs.
    """
    flat = [{} if cfg is None else _flat(cfg) for cfg in configs]
    paths = dict.fromkeys(path for own in flat for path in own if path != 'work_dir')
    rows = [(path, [own.get(path, '–') for own in flat]) for path in paths]
    return [(path, values) for path, values in rows if len(set(values)) > 1]


def _flat(value: Any, path: str = '') -> dict[str, str]:
    """Path -> value of what is no container, or an empty one."""
    items: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        items = [(f'{path}.{key}' if path else str(key), own) for key, own in value.items()]
    elif isinstance(value, list | tuple) and not all(
        isinstance(own, int | float | str | None) for own in value
    ):
        items = [(f'{path}[{i}]', own) for i, own in enumerate(value)]
    if not items:
        return {path: repr(value)} if path else {}
    return {name: text for key, own in items for name, text in _flat(own, key).items()}
