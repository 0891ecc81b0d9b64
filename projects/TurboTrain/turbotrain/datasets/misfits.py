"""Labels that do not lie where the agents' points are, by agent."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from .agreement import NEAR, Boxes, Fit, Sight, best_pose, fit_of, heights_of, other_readings
from .plausibility import Found, Good
from .readers import DIALECTS, Dialect, resolve_dialect

__all__ = ['check_fit', 'spread']

# All our choice. A share of fitting boxes is about 0.9 in simulated and 0.3 in unrelated clouds.
_LEAST_OBJECTS, _LEAST_GAINED = 5, 4  # fewer tell nothing
_GAIN = 0.25  # by which another reading must fit more objects
_GOOD = 0.5  # share that another reading must reach
_POOR, _MANY = 0.15, 8  # share below which that many labels do not fit, even if nothing fits better
_SHIFT, _TURN = 1.5, 4.0  # m and degrees; smaller errors of a pose are noise
_OUT_OF_SIGHT = 150.0  # m
_AGENT_HEIGHT, _OBJECT_HEIGHT = 1.0, 2.0  # m off the ground, of most of an agent's labels and of one

Sights = Mapping[tuple[int, int], Sight]
Views = list[tuple[Sight, Boxes]]


def spread(items: list, count: int) -> list:
    """At most so many of the items, evenly spread from the first to the last."""
    if len(items) <= count:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


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
        fit = fit_of(own)
        readings: dict[str, Views] = defaultdict(list)
        if fit.share < 1 - _GAIN:
            for sight, _, annotation in moments:
                other = other_readings(sight, annotation, dialect.objects_in_agent)
                for name, boxes in other.items():
                    readings[name].append((sight, boxes))
        problem = _misfit(own, fit, readings, dialect)
        if not problem and _out_of_sight(moments):
            problem = f'none of its labels lies within {_OUT_OF_SIGHT:.0f} m of it'
        if not problem:
            others = [
                (sight, _labels_of_others(sight, agent, by_frame[frame]))
                for sight, frame, _ in moments
            ]
            found = fit_of(others)
            problem = _pose_error(others, found)
            if problem:
                problem = (
                    f"its own labels fit its points, the other agents' do not: {problem}. One of "
                    'these agents has wrong poses'
                )
        if problem:
            yield 'labels off the points', 'error', str(agent), problem
        else:
            yield from _heights(agent, own)


def _misfit(own: Views, fit: Fit, readings: Mapping[str, Views], dialect: Dialect) -> str:
    """What an agent's own labels say against how they were read; empty if nothing."""
    best, remedy = fit.share + _GAIN, ''
    for name, views in readings.items():
        other = fit_of(views)
        if len(other.ids) >= _LEAST_OBJECTS and other.share >= max(best, _GOOD):
            best = other.share + 0.05  # a later one has to be clearly better
            remedy = _fits_better(fit, other, _meaning(name, dialect))
    return remedy or _pose_error(own, fit) or _nothing_fits(fit)


def _meaning(name: str, dialect: Dialect) -> str:
    if name == 'frame':
        wanted = [k for k, d in DIALECTS.items() if d.objects_in_agent != dialect.objects_in_agent]
        where = 'the world' if dialect.objects_in_agent else "the agent's own frame"
        return f'with objects given in {where}, as --dataset {" or ".join(wanted)} reads them'
    wanted = [k for k, d in DIALECTS.items() if d.left_handed != dialect.left_handed]
    hand = 'right' if dialect.left_handed else 'left'
    return (
        f'with the y of the {name} mirrored: they are {hand}-handed (all of the files are in '
        f'{", ".join(wanted)})'
    )


def _fits_better(fit: Fit, other: Fit, how: str) -> str:
    return (
        f'of {len(fit.ids)} labelled objects within {NEAR:.0f} m, {fit.share:.0%} have their '
        f'points in their boxes; {other.share:.0%} of {len(other.ids)} {how}'
    )


def _nothing_fits(fit: Fit) -> str:
    if len(fit.ids) < _MANY or fit.share >= _POOR:
        return ''
    return (
        f'of {len(fit.ids)} labelled objects within {NEAR:.0f} m, {fit.share:.0%} have their points '
        'in their boxes, and no other pose, handedness or frame fits better: the clouds may have '
        'other columns, or be of another moment'
    )


def _pose_error(views: Views, fit: Fit) -> str:
    """Which other poses fit clearly more objects; empty if none."""
    if len(fit.ids) < _LEAST_OBJECTS or fit.share > 1 - _GAIN:
        return ''
    found = [(in_world, *best_pose(views, in_world)) for in_world in (False, True)]
    in_world, (dx, dy, turn), other = max(found, key=lambda item: item[2].share)
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
        parts.append(f'moved by ({dx:.1f}, {dy:.1f}) m {_AXES[in_world]}')
    if not parts:
        return ''
    return _fits_better(fit, other, f'with its pose {" and ".join(parts)}')


_AXES = {False: 'along its own axes', True: 'in the world'}


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


def _out_of_sight(moments: list) -> bool:
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
    middle = float(np.median(heights)) if len(ids) >= _LEAST_OBJECTS else 0.0
    if abs(middle) > _AGENT_HEIGHT:
        text = (
            f'its labelled boxes begin {abs(middle):.1f} m {"above" if middle > 0 else "below"} the '
            f'ground (median of {len(ids)} objects): the z of its poses or of its labels is off'
        )
        yield 'labels off the ground', 'error', str(agent), text
        return
    for key, height in zip(ids.tolist(), heights.tolist(), strict=True):
        if abs(height) > _OBJECT_HEIGHT:
            side = 'above' if height > 0 else 'below'
            text = f'object {key} begins {abs(height):.1f} m {side} the ground'
            yield 'object off the ground', 'warning', str(agent), text
