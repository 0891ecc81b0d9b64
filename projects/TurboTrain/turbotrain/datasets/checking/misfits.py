"""Labels that do not lie where the agents' points are, by agent."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from ..readers import DIALECTS, Annotation, Dialect, resolve_dialect
from .agreement import (
    NEAR,
    BestPose,
    Boxes,
    Fit,
    Sight,
    best_pose,
    fit_of,
    heights_of,
    other_readings,
)
from .plausibility import Found, Good

__all__ = ['check_fit']

# All our choice. A share of fitting boxes is about 0.9 in simulated and 0.3 in unrelated clouds.
_LEAST_OBJECTS, _LEAST_GAINED = 5, 4  # fewer tell nothing
_GAIN = 0.25  # by which another reading must fit more objects
_GOOD = 0.6  # share that another reading must reach
_MANY, _BEYOND_CHANCE = 10, 1.6  # so many labels have to fit that many times what chance does
_SHIFT, _TURN = 1.5, 4.0  # m and degrees; smaller errors of a pose are noise
_OUT_OF_SIGHT = 150.0  # m
_AGENT_HEIGHT, _OBJECT_HEIGHT = 1.0, 2.0  # m off the ground: of most of an agent's labels, of one

Sights = Mapping[tuple[int, int], Sight]
Views = list[tuple[Sight, Boxes]]
Moments = list[tuple[Sight, int, Annotation]]


def check_fit(good: Good, sights: Sights, dataset: str) -> Found:
    """Compare labels with points, agent by agent.

    Args:
        good: annotated moments of one scenario.
        sights: (agent, frame) -> what rises there, of some of these moments.
        dataset: whose conventions the files were read by, a key of ``DIALECTS``.
    """
    dialect = resolve_dialect(dataset)
    by_agent, by_frame = defaultdict(list), defaultdict(list)
    for row, annotation in good:
        if (row.agent, row.frame) in sights:
            by_agent[row.agent].append((sights[row.agent, row.frame], row.frame, annotation))
        by_frame[row.frame].append((row.agent, annotation))
    for agent, moments in by_agent.items():
        own = [(sight, sight.labels(annotation)) for sight, _, annotation in moments]
        others = [
            (sight, _labels_of_others(sight, agent, by_frame[frame])) for sight, frame, _ in moments
        ]
        problem = _against_own(moments, own, dialect) or _against_others(others)
        if problem:
            yield 'labels off the points', 'error', str(agent), problem
        else:
            yield from _heights(agent, own)


def _against_own(moments: Moments, own: Views, dialect: Dialect) -> str:
    """What an agent's own labels say against how they were read; empty if nothing."""
    fit = fit_of(own)
    if len(fit.ids) and fit.share > 1 - _GAIN:
        return ''
    readings: dict[str, Views] = defaultdict(list)
    for sight, _, annotation in moments:
        for name, boxes in other_readings(sight, annotation, dialect.objects_in_agent).items():
            readings[name].append((sight, boxes))
    fits = {name: fit_of(views) for name, views in readings.items()}
    known = {name: other for name, other in fits.items() if len(other.ids) >= _LEAST_OBJECTS}
    if known:
        name, other = max(known.items(), key=lambda item: item[1].share)
        if other.share >= max(_GOOD, fit.share + _GAIN):
            return _fits_better(fit, other, _meaning(name, dialect))
    if len(fit.ids) >= _LEAST_OBJECTS:
        best = best_pose(own)
        return _pose_error(fit, best) or _chance_hits(fit, best)
    if _out_of_sight(moments):
        return f'none of its labels lies within {_OUT_OF_SIGHT:.0f} m of it'
    return ''


def _against_others(others: Views) -> str:
    """What the other agents' labels say against an agent's poses; empty if nothing."""
    fit = fit_of(others)
    # What others see is often hidden from this agent.
    if len(fit.ids) < _LEAST_OBJECTS or fit.share > _GOOD:
        return ''
    problem = _pose_error(fit, best_pose(others))
    if not problem:
        return ''
    return (
        f"its own labels fit its points, the other agents' do not: {problem}. One of these agents "
        'has wrong poses'
    )


def _meaning(name: str, dialect: Dialect) -> str:
    if name == 'frame':
        wanted = [k for k, d in DIALECTS.items() if d.objects_in_agent != dialect.objects_in_agent]
        where = 'the world' if dialect.objects_in_agent else "the agent's own frame"
        return f'with objects given in {where}, as --dataset {" or ".join(wanted)} reads them'
    return f'with the y of the {name} mirrored: the files are not all of one handedness'


def _fits_better(fit: Fit, other: Fit, how: str) -> str:
    return (
        f'of {len(fit.ids)} labelled objects within {NEAR:.0f} m, {fit.share:.0%} have their '
        f'points in their boxes; {other.share:.0%} of {len(other.ids)} {how}'
    )


def _pose_error(fit: Fit, best: BestPose) -> str:
    """Which other poses fit clearly more objects; empty if none."""
    (dx, dy, turn), other = best.correction, best.fit
    turn = (turn + 180) % 360 - 180
    change = other.shares - fit.shares
    # A pose that is merely lucky gains few objects, and loses about as many.
    gained, lost = (change > _GAIN).sum(), (change < -_GAIN).sum()
    lucky = gained < max(_LEAST_GAINED, 3 * lost)
    if other.share < max(_GOOD, fit.share + _GAIN) or lucky:
        return ''
    parts = []
    if abs(turn) >= _TURN:
        parts.append(f'turned by {turn:.0f} degrees')
    if np.hypot(dx, dy) >= _SHIFT:
        axes = 'in the world' if best.in_world else 'along its own axes'
        parts.append(f'moved by ({dx:.1f}, {dy:.1f}) m {axes}')
    return _fits_better(fit, other, f'with its pose {" and ".join(parts)}') if parts else ''


def _chance_hits(fit: Fit, best: BestPose) -> str:
    """Whether labels and points have nothing in common; empty if they have."""
    if len(fit.ids) < _MANY or fit.share > min(_GOOD, best.chance * _BEYOND_CHANCE):
        return ''
    return (
        f'of {len(fit.ids)} labelled objects within {NEAR:.0f} m, {fit.share:.0%} have their '
        f'points in their boxes, {best.chance:.0%} have at wrong poses, and no other pose, '
        'handedness or frame fits: the clouds may have other columns, or be of other moments'
    )


def _labels_of_others(sight: Sight, agent: int, moment: Iterable) -> Boxes:
    """The labels that other agents have near one, each object's first."""
    ids, boxes, seen = [np.zeros(0, np.int64)], [np.zeros((0, 7))], set()
    for other, annotation in moment:
        if other != agent:
            labels = sight.labels(annotation, seen)
            seen.update(labels.ids.tolist())
            ids.append(labels.ids)
            boxes.append(labels.boxes)
    return Boxes(np.concatenate(ids), np.concatenate(boxes))


def _out_of_sight(moments: Moments) -> bool:
    """Whether there are labels, and all of them lie far away."""
    offsets = [
        annotation.centres[:, :2] - annotation.world_from_agent[:2, 3]
        for _, _, annotation in moments
    ]
    distances = np.linalg.norm(np.concatenate([np.zeros((0, 2)), *offsets]), axis=1)
    return len(distances) > 0 and distances.min() > _OUT_OF_SIGHT


def _heights(agent: int, own: Views) -> Found:
    """Boxes that float or are buried: all of an agent's, or single ones."""
    ids, heights = heights_of(own)
    middle = float(np.median(heights[:, 0])) if len(ids) >= _LEAST_OBJECTS else 0.0
    if abs(middle) > _AGENT_HEIGHT:
        side = 'above' if middle > 0 else 'below'
        text = (
            f'its labelled boxes begin {abs(middle):.1f} m {side} the ground (median of {len(ids)} '
            'objects): the z of its poses or of its labels is off'
        )
        yield 'labels off the ground', 'error', str(agent), text
        return
    # What seems to be the ground may be the top of something that hides it, and a road may climb.
    for sign, side in ((1, 'above'), (-1, 'below')):
        off = (sign * heights).min(axis=1)
        for i in np.flatnonzero(off > _OBJECT_HEIGHT):
            text = f'object {ids[i]} begins {off[i]:.1f} m {side} the ground'
            yield 'object off the ground', 'warning', str(agent), text
