"""Looks for what is broken in a dataset, or merely odd, before training stumbles over it.

Everything is read by the readers that training uses: what passes here is read there. One finding
stands for all occurrences of a kind in one place, with the first as an example.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from .ignore_list import IgnoreList
from .readers import (
    AgentFrame,
    Annotation,
    DataFileError,
    list_folder,
    list_scenarios,
    read_annotation,
    read_point_cloud,
    read_trajectories,
    read_vector_map,
    resolve_dialect,
    scan_scenario,
)

__all__ = ['CheckOptions', 'Finding', 'check_dataset', 'ignore_list_of']

_MAP = '_vector_map.pkl'


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: what it is, in a word or two.
        severity: ``error`` where training would fail, else ``warning``.
        path: the file or folder, relative to the data root.
        text: what was expected and what was found.
    """

    kind: str
    severity: str
    path: str
    text: str


@dataclass(frozen=True)
class CheckOptions:
    """What counts as odd.

    Attributes:
        dataset: whose conventions the files follow, a key of ``DIALECTS``.
        class_names: raw class names that the class map knows.
        clouds: whether to read point clouds.
        max_speed: of a vehicle with LiDAR, m/s.
        max_drift: of a roadside unit between two frames, m.
        max_apart: between two agents' labels of one object at one time, m.
        min_speed: of an object whose heading is compared with its motion, m/s.
    """

    dataset: str = 'v2xpnp'
    class_names: frozenset[str] = frozenset()
    clouds: bool = True
    max_speed: float = 40.0
    max_drift: float = 0.5
    max_apart: float = 8.0
    min_speed: float = 2.0


def check_dataset(
    data_root: str,
    splits: list[str],
    options: CheckOptions,
    workers: int = 1,
    progress: Callable[..., Iterable] | None = None,
) -> list[Finding]:
    """Check all scenarios of some splits, one at a time per process.

    Args:
        data_root: folder that holds the splits' folders.
        splits: names of their folders.
        options: what to look for.
        workers: processes.
        progress: wraps the iterator over scenarios, e.g. ``tqdm``; called with ``total``.

    Raises:
        DataFileError: a split is not a folder, or holds no scenario.
    """
    todo = [(s, name) for s in splits for name in list_scenarios(os.path.join(data_root, s))]
    check = partial(_check_scenario, data_root, options)
    with ProcessPoolExecutor(workers) as pool:
        parts = pool.map(check, todo)
        found = list(parts if progress is None else progress(parts, total=len(todo)))
    findings = [finding for part in found for finding in part]
    homes = defaultdict(list)
    for split, name in todo:
        homes[name].append(split)
    for name, where in homes.items():
        if len(where) > 1:
            text = f'expected every scenario in one split, found it in {", ".join(where)}'
            findings.append(Finding('in two splits', 'warning', f'{where[-1]}/{name}', text))
    return findings + list(_check_pickles(data_root))


def ignore_list_of(findings: list[Finding]) -> IgnoreList:
    """What to leave out so that training meets none of the errors."""
    paths = defaultdict(set)
    for finding in findings:
        if finding.severity == 'error':
            paths[finding.kind].add(finding.path)
    return IgnoreList(
        scenarios=frozenset(paths['bad scenario']),
        annotations=frozenset(paths['bad annotation'] | paths['bad extent']),
        clouds=frozenset(paths['bad cloud']),
    )


def _check_pickles(data_root: str) -> Iterator[Finding]:
    """The vector maps and the trajectory file, where they are."""
    root = list_folder(data_root)
    maps = list_folder(os.path.join(data_root, 'map')).files if 'map' in root.folders else []
    todo = [
        *(('bad map', 'error', f'map/{n}', read_vector_map) for n in maps if n.endswith(_MAP)),
        # Training reads futures from the labels.
        *(
            ('bad trajectories', 'warning', name, read_trajectories)
            for name in root.files
            if name.startswith('trajectory_database') and name.endswith('.pkl')
        ),
    ]
    for kind, severity, path, read in todo:
        try:
            read(os.path.join(data_root, path))
        except DataFileError as error:
            yield Finding(kind, severity, path, error.problem)


def _check_scenario(data_root: str, options: CheckOptions, where: tuple[str, str]) -> list[Finding]:
    folder = os.path.join(data_root, *where)

    def relative(path: str) -> str:
        return os.path.relpath(path, data_root).replace(os.sep, '/')

    try:
        frames = scan_scenario(folder)
    except DataFileError as error:
        text = str(error).replace(data_root, '').lstrip('/')
        return [Finding('bad scenario', 'error', relative(folder), text)]
    findings, annotations = [], []
    for row in frames:
        annotation = None
        try:
            annotation = read_annotation(
                row.annotation, resolve_dialect(options.dataset), row.agent
            )
        except DataFileError as error:
            path = relative(row.annotation)
            findings.append(Finding('bad annotation', 'error', path, error.problem))
        annotations.append(annotation)
        findings += _check_cloud(row, options, relative)
    good = [(f, a) for f, a in zip(frames, annotations, strict=True) if a is not None]
    seen = {str(row.agent) for row in frames}
    for name in list_folder(folder).folders:
        if name.lstrip('-').isdecimal() and str(int(name)) not in seen:
            path = relative(os.path.join(folder, name))
            findings.append(Finding('agent without frames', 'warning', path, 'has no annotation'))
    for kind, severity, path, text in (
        *_check_agents(good, options),
        *_check_labels(good, options),
        *_check_tracks(good, options),
    ):
        findings.append(Finding(kind, severity, relative(os.path.join(folder, path)), text))
    return findings


def _check_cloud(
    row: AgentFrame, options: CheckOptions, relative: Callable[[str], str]
) -> Iterator[Finding]:
    if not row.cloud:
        path = relative(row.annotation)
        yield Finding('no cloud', 'warning', path, 'expected a .bin or .pcd of the same name')
    elif options.clouds:
        try:
            points = read_point_cloud(row.cloud)
        except DataFileError as error:
            yield Finding('bad cloud', 'error', relative(row.cloud), error.problem)
        else:
            if not len(points):
                yield Finding('empty cloud', 'warning', relative(row.cloud), 'has no finite point')


_Good = list[tuple[AgentFrame, Annotation]]
_Found = Iterator[tuple[str, str, str, str]]


def _check_agents(good: _Good, options: CheckOptions) -> _Found:
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


def _check_labels(good: _Good, options: CheckOptions) -> _Found:
    """Labels of each moment, and of the agents against each other."""
    apart, classes = {}, {}
    first: dict[tuple[int, int], tuple[AgentFrame, np.ndarray]] = {}
    kinds: dict[int, str] = {}
    unknown: dict[str, str] = {}
    for frame, annotation in good:
        path = f'{frame.agent}/{os.path.basename(frame.annotation)}'
        flat = np.flatnonzero((annotation.extents <= 0).any(axis=1))
        if len(flat):
            i = flat[0]
            text = (
                f'key vehicles.{annotation.ids[i]}.extent: expected half sizes above 0, got '
                f'{annotation.extents[i].tolist()} ({len(flat)} objects)'
            )
            yield 'bad extent', 'error', path, text
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


def _check_tracks(good: _Good, options: CheckOptions) -> _Found:
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
