"""What can be read and is odd all the same: gaps, jumps, labels that contradict each other."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .ignore_list import IgnoreList
from .readers import AgentFrame, Annotation, resolve_dialect

__all__ = ['CheckOptions', 'check_agents', 'check_labels', 'check_tracks']


@dataclass(frozen=True)
class CheckOptions:
    """What counts as odd.

    Attributes:
        dataset: whose conventions the files follow, a key of ``DIALECTS``.
        class_names: raw class names that the class map knows.
        clouds: whether to read point clouds.
        ignore: what training leaves out too.
        backend_args: where mmengine's fileio finds the folder; local disk by default.
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
    max_speed: float = 40.0
    max_drift: float = 0.5
    max_apart: float = 8.0
    min_speed: float = 2.0


# Kind, severity, path within the scenario, and text of each finding.
Good = list[tuple[AgentFrame, Annotation]]
Found = Iterator[tuple[str, str, str, str]]


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
    """Headings against the motion of each object, by the labels of the first agent to have it."""
    tracks: dict[tuple[int, int], list[tuple[int, np.ndarray, float]]] = defaultdict(list)
    for frame, annotation in good:
        rows = zip(annotation.ids.tolist(), annotation.centres, annotation.angles, strict=True)
        for key, centre, angle in rows:
            tracks[key, frame.agent].append((frame.frame, centre[:2], np.deg2rad(angle[1])))
    rate = resolve_dialect(options.dataset).frame_rate
    told = set()
    for (key, agent), rows in tracks.items():
        if key in told or len(rows) < 4:
            continue
        frames, positions, yaws = (np.array(column) for column in zip(*rows, strict=True))
        velocity = np.diff(positions, axis=0) / (np.diff(frames) / rate)[:, None]
        moving = np.linalg.norm(velocity, axis=1) > options.min_speed
        ahead = velocity[:, 0] * np.cos(yaws[:-1]) + velocity[:, 1] * np.sin(yaws[:-1])
        against = moving & (ahead < 0)
        if moving.sum() >= 3 and 2 * against.sum() > moving.sum():
            told.add(key)
            text = f'object {key} moves backwards in {against.sum()} of {moving.sum()} moving steps'
            yield 'yaw against motion', 'warning', str(agent), text
