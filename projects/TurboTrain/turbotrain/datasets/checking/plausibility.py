"""What can be read and is odd all the same: gaps, jumps, labels that contradict each other."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...structures import wrapped
from ..ignore_list import IgnoreList
from ..readers import LABELS, AgentFrame, Annotation, Source, open_source, resolve_dialect

__all__ = [
    'CheckOptions',
    'Found',
    'Good',
    'check_agents',
    'check_boxes',
    'check_labels',
    'check_tracks',
    'spread',
]

# Our choice.
_FLIP = np.deg2rad(150.0)
_LONG = 1.0  # m, half the length of what cannot turn on the spot
_SIDES = (0.05, 40.0)  # m, of any road user
_TIMES, _FEW = 8.0, 5  # how many times off the median of a class, if that many objects are of it


@dataclass(frozen=True)
class CheckOptions:
    """What counts as odd.

    Attributes:
        dataset: whose conventions the files follow, a key of ``DIALECTS``.
        class_names: raw class names that the class map knows.
        clouds: whether to read point clouds.
        ignore: what training leaves out too.
        backend_args: where mmengine's fileio finds the folder; local disk by default.
        labels: which labels to read, of a dataset that has several kinds.
        max_speed: of a vehicle with LiDAR, m/s.
        max_drift: of a roadside unit between two frames, m.
        max_apart: between two agents' labels of one object at one time, m.
        min_speed: of an object whose heading is compared with its motion, m/s.
    """

    dataset: str = 'v2xpnp'
    class_names: frozenset[str] = frozenset()
    clouds: bool = True
    ignore: IgnoreList = IgnoreList()
    backend_args: dict | None = None
    labels: str = LABELS[0]
    max_speed: float = 40.0
    max_drift: float = 0.5
    max_apart: float = 8.0
    min_speed: float = 2.0

    def source(self, data_root: str) -> Source:
        """Where the scenarios of a folder are."""
        return open_source(data_root, self.dataset, self.labels, self.backend_args)


# Kind, severity, path within the scenario, and text of each finding.
Good = list[tuple[AgentFrame, Annotation]]
Found = Iterator[tuple[str, str, str, str]]


def spread(items: list, count: int) -> list:
    """At most so many of the items, evenly spread from the first to the last."""
    if len(items) <= count:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def check_agents(good: Good, options: CheckOptions) -> Found:
    """Frames and poses of each agent."""
    by_agent = defaultdict(list)
    for frame, annotation in good:
        by_agent[frame.agent].append((frame.frame, annotation.world_from_agent[:3, 3]))
    all_frames = [{frame for frame, _ in rows} for rows in by_agent.values()]
    for agent, rows in by_agent.items():
        frames = np.array([frame for frame, _ in rows])
        if (
            len(by_agent) > 1
            and sum(bool(other & set(frames.tolist())) for other in all_frames) < 2
        ):
            text = 'expected frames in common with another agent of the scenario'
            yield 'no common frame', 'warning', str(agent), text
        if len(frames) < 2:
            continue
        steps = np.diff(frames)
        usual = int(np.median(steps))
        gaps = np.flatnonzero(steps != usual)
        if len(gaps):
            text = (
                f'expected a frame every {usual}, {len(gaps)} steps differ, the first from '
                f'{frames[gaps[0]]} to {frames[gaps[0] + 1]}'
            )
            yield 'frame gap', 'warning', str(agent), text
        moved = np.linalg.norm(np.diff([position for _, position in rows], axis=0), axis=1)
        seconds = steps / resolve_dialect(options.dataset).frame_rate
        limit = options.max_drift if agent < 0 else options.max_speed * seconds
        jumps = np.flatnonzero(moved > limit)
        if len(jumps):
            text = (
                f'{len(jumps)} jumps of its lidar_pose, the first of {moved[jumps[0]]:.1f} m from '
                f'frame {frames[jumps[0]]} to {frames[jumps[0] + 1]}'
            )
            yield 'pose jump', 'warning', str(agent), text


def check_labels(good: Good, options: CheckOptions) -> Found:
    """Labels of each moment, and of the agents against each other."""
    apart, classes = {}, {}
    first: dict[tuple[int, int], tuple[AgentFrame, np.ndarray]] = {}
    kinds: dict[int, str] = {}
    unknown: dict[str, str] = {}
    for frame, annotation in good:
        path = f'{frame.agent}/{os.path.basename(frame.annotation)}'
        labels = zip(annotation.ids.tolist(), annotation.types, annotation.centres, strict=True)
        for key, kind, centre in labels:
            if options.class_names and kind not in options.class_names:
                unknown.setdefault(kind, path)
            if kinds.setdefault(key, kind) != kind:
                classes.setdefault(key, f'{kinds[key]} and {kind}, the latter in {path}')
            other, position = first.setdefault((key, frame.frame), (frame, centre))
            distance = float(np.linalg.norm(position - centre))
            if distance > options.max_apart:
                text = f'{distance:.1f} m between the labels of agents {other.agent} and'
                apart.setdefault(key, (path, f'{text} {frame.agent}, frame {frame.frame}'))
    for kind, path in unknown.items():
        yield 'class not in map', 'warning', path, f'{kind!r} is in no class of the class map'
    for key, text in classes.items():
        yield 'two classes', 'warning', '.', f'object {key} is {text}'
    for key, (path, text) in apart.items():
        yield 'labels apart', 'warning', path, f'object {key}: {text}'


def check_tracks(good: Good, options: CheckOptions) -> Found:
    """Headings against the motion of each object, and from one moment to the next."""
    tracks: dict[tuple[int, int], list[tuple[int, np.ndarray, float, float]]] = defaultdict(list)
    for frame, annotation in good:
        rows = zip(
            annotation.ids.tolist(),
            annotation.centres,
            annotation.angles,
            annotation.extents,
            strict=True,
        )
        for key, centre, angle, extent in rows:
            row = (frame.frame, centre[:2], np.deg2rad(angle[1]), extent[0])
            tracks[key, frame.agent].append(row)
    rate = resolve_dialect(options.dataset).frame_rate
    flips: dict[int, tuple[int, str]] = {}
    backwards: dict[int, dict[int, str]] = defaultdict(dict)
    movers = defaultdict(int)
    for (key, agent), rows in tracks.items():
        frames, positions, yaws, half_lengths = (np.array(c) for c in zip(*rows, strict=True))
        seconds = np.diff(frames) / rate
        turns = np.abs(wrapped(np.diff(yaws)))
        # People turn on the spot, vehicles do not.
        flipped = (turns > _FLIP) & (seconds <= 1.0) & (half_lengths[1:] > _LONG)
        if flipped.any():
            first = flipped.argmax()
            text = (
                f'the heading of object {key} flips {flipped.sum()} times, first by '
                f'{np.rad2deg(turns[first]):.0f} degrees from frame {frames[first]} to '
                f'{frames[first + 1]}'
            )
            flips.setdefault(key, (agent, text))
        if len(rows) < 4:
            continue
        velocity = np.diff(positions, axis=0) / seconds[:, None]
        moving = np.linalg.norm(velocity, axis=1) > options.min_speed
        ahead = velocity[:, 0] * np.cos(yaws[:-1]) + velocity[:, 1] * np.sin(yaws[:-1])
        against = moving & (ahead < 0)
        if moving.sum() >= 3:
            movers[agent] += 1
            if 2 * against.sum() > moving.sum():
                text = f'object {key} moves backwards in {against.sum()} of {moving.sum()} steps'
                backwards[agent][key] = f'{text} in which it moves'
    told = set()
    for agent, found in backwards.items():
        if len(found) >= 3 and 2 * len(found) > movers[agent]:
            text = f'{len(found)} of its {movers[agent]} moving objects head backwards: '
            text += min(found.items())[1]
            yield 'headings reversed', 'error', str(agent), text
            continue
        for key, text in found.items():
            if key not in told:
                told.add(key)
                yield 'yaw against motion', 'warning', str(agent), text
    for agent, text in flips.values():
        yield 'heading flips', 'warning', str(agent), text


def check_boxes(good: Good) -> Found:
    """Boxes of absurd size, and two boxes in one place."""
    sizes = _usual_sizes(good)
    two_ids: dict[tuple[int, int], tuple[str, str]] = {}
    moments: dict[int, list[tuple[AgentFrame, Annotation]]] = defaultdict(list)
    for frame, annotation in good:
        moments[frame.frame].append((frame, annotation))
        path = f'{frame.agent}/{os.path.basename(frame.annotation)}'
        full = 2 * annotation.extents
        usual = np.array([sizes[kind] for kind in annotation.types]).reshape(-1, 3)
        ratio = full / usual
        absurd = (full < _SIDES[0]) | (full > _SIDES[1])
        absurd |= (ratio > _TIMES) | (ratio < 1 / _TIMES)
        for i in np.flatnonzero(absurd.any(axis=1)):
            text = f'a {annotation.types[i]} of {_metres(full[i])} m'
            if np.isfinite(usual[i]).all():
                text += f'; usual in the scenario: {_metres(usual[i])} m'
            yield 'absurd size', 'error', f'{path}#{annotation.keys[i]}', text
        for i, j in _doubles(annotation.centres, annotation.extents):
            text = f'in the same place and of the same size as object {annotation.keys[i]}'
            yield 'doubled box', 'error', f'{path}#{annotation.keys[j]}', text
    for here in moments.values():
        owners = np.concatenate([np.full(len(a.ids), i) for i, (_, a) in enumerate(here)])
        ids, first = np.unique(np.concatenate([a.ids for _, a in here]), return_index=True)
        owners = owners[first]
        centres = np.concatenate([a.centres for _, a in here])[first]
        extents = np.concatenate([a.extents for _, a in here])[first]
        for i, j in _doubles(centres, extents):
            if owners[i] != owners[j]:
                one, other = sorted((i, j), key=lambda k: owners[k])
                row = here[owners[other]][0]
                text = (
                    f'object {ids[other]} is where agent {here[owners[one]][0].agent} labels '
                    f'object {ids[one]}, of the same size'
                )
                path = f'{row.agent}/{os.path.basename(row.annotation)}'
                two_ids.setdefault((int(ids[i]), int(ids[j])), (path, text))
    for path, text in two_ids.values():
        yield 'two ids', 'warning', path, text


def _usual_sizes(good: Good) -> dict[str, np.ndarray]:
    """The median full size of each class; NaN of a class with few objects."""
    seen: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    for _, annotation in good:
        rows = zip(annotation.ids.tolist(), annotation.types, annotation.extents, strict=True)
        for key, kind, extent in rows:
            seen[kind].setdefault(key, 2 * extent)
    unknown = np.full(3, np.nan)
    return {
        kind: np.median(list(found.values()), axis=0) if len(found) >= _FEW else unknown
        for kind, found in seen.items()
    }


def _doubles(centres: np.ndarray, extents: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of boxes a quarter of their width apart at most, and of one size within a tenth."""
    i, j = np.triu_indices(len(centres), 1)
    near = np.linalg.norm(centres[i] - centres[j], axis=1)
    close = near < np.minimum(extents[i, :2].min(axis=1), extents[j, :2].min(axis=1)) / 2
    i, j = i[close], j[close]
    alike = np.abs(np.log(extents[i] / extents[j])).max(axis=1, initial=0.0) < 0.1
    return list(zip(i[alike].tolist(), j[alike].tolist(), strict=True))


def _metres(size: np.ndarray) -> str:
    return ' x '.join(f'{side:.3g}' for side in size)
