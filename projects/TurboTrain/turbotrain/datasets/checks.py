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

from .ignore_list import IgnoreList
from .plausibility import CheckOptions, check_agents, check_labels, check_tracks
from .readers import (
    AGENT,
    CLOUD_SUFFIXES,
    AgentFrame,
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
    todo = [
        (split, name)
        for split in splits
        for name in list_scenarios(os.path.join(data_root, split), options.backend_args)
        if f'{split}/{name}' not in options.ignore.scenarios
    ]
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
    return findings + list(_check_pickles(data_root, options.backend_args))


def ignore_list_of(findings: list[Finding]) -> IgnoreList:
    """What to leave out so that training meets none of the errors; a bad map has to be removed."""
    paths = defaultdict(set)
    for finding in findings:
        if finding.severity == 'error':
            paths[finding.kind].add(finding.path)
    return IgnoreList(
        scenarios=frozenset(paths['bad scenario']),
        annotations=frozenset(paths['bad annotation']),
        clouds=frozenset(paths['bad cloud']),
        objects=frozenset(paths['bad object']),
    )


def _check_pickles(data_root: str, backend_args: dict | None) -> Iterator[Finding]:
    """The vector maps and the trajectory file, where they are."""
    root = list_folder(data_root, backend_args)
    there = 'map' in root.folders
    maps = list_folder(os.path.join(data_root, 'map'), backend_args).files if there else []
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
            read(os.path.join(data_root, path), backend_args)
        except DataFileError as error:
            yield Finding(kind, severity, path, error.problem)


def _check_scenario(data_root: str, options: CheckOptions, where: tuple[str, str]) -> list[Finding]:
    folder = os.path.join(data_root, *where)

    def relative(path: str) -> str:
        return os.path.relpath(path, data_root).replace(os.sep, '/')

    try:
        frames = scan_scenario(folder, options.backend_args)
    except DataFileError as error:
        text = str(error).replace(data_root, '').lstrip('/')
        return [Finding('bad scenario', 'error', relative(folder), text)]
    findings, good = [], []
    skip = options.ignore.keys_by_annotation()
    for row in frames:
        path = relative(row.annotation)
        if path in options.ignore.annotations:
            continue
        bad: dict[str, str] = {}
        try:
            annotation = read_annotation(
                row.annotation,
                resolve_dialect(options.dataset),
                row.agent,
                options.backend_args,
                skip=skip[path],
                bad=bad,
            )
        except DataFileError as error:
            findings.append(Finding('bad annotation', 'error', path, error.problem))
        else:
            good.append((row, annotation))
        findings += [
            Finding('bad object', 'error', f'{path}#{key}', text) for key, text in bad.items()
        ]
        findings += _check_cloud(row, options, relative)
    findings += _check_folders(folder, frames, options, relative)
    for kind, severity, path, text in (
        *check_agents(good, options),
        *check_labels(good, options),
        *check_tracks(good, options),
    ):
        findings.append(Finding(kind, severity, relative(os.path.join(folder, path)), text))
    return findings


def _check_folders(
    folder: str, frames: list[AgentFrame], options: CheckOptions, relative: Callable[[str], str]
) -> Iterator[Finding]:
    """Agents and clouds that nothing is known of."""
    annotated = defaultdict(set)
    for row in frames:
        annotated[os.path.dirname(row.annotation)].add(os.path.splitext(row.annotation)[0])
    for name in filter(AGENT.fullmatch, list_folder(folder, options.backend_args).folders):
        agent = os.path.join(folder, name)
        if agent not in annotated:
            yield Finding('agent without frames', 'warning', relative(agent), 'has no annotation')
            continue
        for file in list_folder(agent, options.backend_args).files:
            stem, suffix = os.path.splitext(os.path.join(agent, file))
            if suffix in CLOUD_SUFFIXES and stem not in annotated[agent]:
                text = 'expected a .yaml of the same name'
                yield Finding('no annotation', 'warning', relative(stem + suffix), text)


def _check_cloud(
    row: AgentFrame, options: CheckOptions, relative: Callable[[str], str]
) -> Iterator[Finding]:
    if not row.cloud:
        path = relative(row.annotation)
        yield Finding('no cloud', 'warning', path, 'expected a .bin or .pcd of the same name')
    elif options.clouds and relative(row.cloud) not in options.ignore.clouds:
        try:
            points = read_point_cloud(row.cloud, options.backend_args)
        except DataFileError as error:
            yield Finding('bad cloud', 'error', relative(row.cloud), error.problem)
        else:
            if not len(points):
                yield Finding('empty cloud', 'warning', relative(row.cloud), 'has no finite point')
