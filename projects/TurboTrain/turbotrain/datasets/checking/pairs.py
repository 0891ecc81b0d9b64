"""What is odd in the lists of DAIR-V2X-C and V2X-Seq: pairs of frames and their corrections."""

import math
from collections.abc import Iterable
from itertools import pairwise

from ..readers import LABELS, AgentFrame, DairFrame, DairSource
from .plausibility import Found

__all__ = ['check_lists', 'check_pairs']

_LATE = 0.05  # s between the two sides of a pair; half a step of their clocks
_JUMP = 0.3  # m of the correction between two pairs; our choice
_LIMITS = (-1.10, 0.66)  # m, to which the authors' corrections are clamped


def check_pairs(rows: Iterable[AgentFrame]) -> Found:
    """Pairs of one scenario: late ones, those without labels, and jumps of their corrections.

    Args:
        rows: every agent at every time, by agent and frame; of other sets nothing is found.
    """
    paired = [row for row in rows if isinstance(row, DairFrame) and row.paired]
    units = [row for row in paired if row.unit]
    late = [row for row in units if abs(row.lag) > _LATE]
    if late:
        text = (
            f'in {len(late)} of {len(units)} pairs the two clouds are over {_LATE * 1e3:g} ms apart'
            f', first {late[0].lag * 1e3:.0f} ms in frame {late[0].frame}; samples say so in their '
            'delays'
        )
        yield 'late pair', 'warning', str(late[0].agent), text
    for row in paired:
        if not row.unit and not row.labels:
            text = f'frame {row.frame} of the split has no cooperative labels, and makes no sample'
            yield 'pair without labels', 'warning', str(row.agent), text
    jumps = [
        (one, other, moved)
        for one, other in pairwise(units)
        if (moved := math.dist(one.offset, other.offset)) > _JUMP
    ]
    if jumps:
        one, other, moved = jumps[0]
        text = (
            f'{len(jumps)} of {len(units) - 1} steps of system_error_offset are over {_JUMP:g} m, '
            f'first {moved:.2f} m from frame {one.frame} to {other.frame}: the roadside unit seems '
            'to jump'
        )
        yield 'correction jump', 'warning', str(one.agent), text


def check_lists(source: DairSource, splits: list[str]) -> Found:
    """What is odd in the lists of all frames, with paths relative to the root.

    Args:
        source: the data set.
        splits: names of the splits to look at.
    """
    dialect, index = source.dialect, source.index
    if not dialect.tracks:
        text = 'objects have no track ids: detection can be trained on this set, forecasts cannot'
        yield 'no tracks', 'warning', f'cooperative/{dialect.label_folder}', text
    if dialect.labels == 'world' and source.labels == LABELS[0]:
        text = (
            "the original labels end where the vehicle's camera does: what is beside and behind it "
            'is not labelled; --labels complemented reads those that CoAlign completed'
        )
        yield 'labels in view only', 'warning', f'cooperative/{dialect.label_folder}', text
    for split in splits:
        for odd in index.oddities[split]:
            yield odd.kind, 'warning', odd.path, odd.text
        offsets = [
            row.offset
            for rows in index.splits[split].values()
            for row in rows
            if row.unit and row.paired
        ]
        limited = sum(any(abs(o - limit) < 1e-3 for o, limit in _both(p)) for p in offsets)
        if limited:
            none = sum(offset == (0.0, 0.0) for offset in offsets)
            text = (
                f'of {len(offsets)} corrections of {split}, {limited} lie on their limits of '
                f'{_LIMITS[0]:g} and {_LIMITS[1]:g} m and {none} are 0: they are rough'
            )
            yield 'correction at its limit', 'warning', 'cooperative/data_info.json', text


def _both(offset: tuple[float, float]) -> list[tuple[float, float]]:
    """Each coordinate with each limit."""
    return [(value, limit) for value in offset for limit in _LIMITS]
