"""Looks for what is broken in a dataset, or merely odd, before training stumbles over it.

Everything is read by the readers that training uses: what passes here is read there. One finding
stands for all occurrences of a kind in one place, with the first as an example.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from .agreement import Sight
from .ignore_list import IgnoreList
from .misfits import check_fit, spread
from .plausibility import (
    CheckOptions,
    Found,
    check_agents,
    check_boxes,
    check_labels,
    check_tracks,
)
from .readers import (
    AGENT,
    CLOUD_SUFFIXES,
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
from .recognition import contradiction

__all__ = [
    'MOSTLY_BAD',
    'OTHER_DATASET',
    'CheckOptions',
    'Finding',
    'check_dataset',
    'check_sample',
    'ignore_list_of',
]

MOSTLY_BAD, OTHER_DATASET = 'mostly bad', 'other dataset'
_MAP = '_vector_map.pkl'
_MOMENTS = 8  # of each agent in a scenario, at which labels are compared with points; our choice
_SAMPLE = 3  # the same for a look in passing
# What an ignore list can leave out, by the kind of finding.
_LISTED = {
    'bad scenario': 'scenarios',
    'bad annotation': 'annotations',
    'bad cloud': 'clouds',
    'bad object': 'objects',
    'absurd size': 'objects',
    'doubled box': 'objects',
}


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: what it is, in a word or two.
        severity: ``error`` where training would fail or learn what is wrong, else ``warning``.
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
    findings, counts = [], defaultdict(Counter)
    for (split, _), (part, counted) in zip(todo, found, strict=True):
        findings += part
        counts[split].update(counted)
    for split in splits:
        inside = [finding for finding in findings if finding.path.startswith(f'{split}/')]
        findings += _check_split(split, counts[split], inside)
    homes = defaultdict(list)
    for split, name in todo:
        homes[name].append(split)
    for name, where in homes.items():
        if len(where) > 1:
            text = f'expected every scenario in one split, found it in {", ".join(where)}'
            findings.append(Finding('in two splits', 'warning', f'{where[-1]}/{name}', text))
    return findings + list(_check_pickles(data_root, options.backend_args))


def check_sample(data_root: str, split: str, options: CheckOptions) -> list[Finding]:
    """Look at a few moments of the first and last scenario: what they are, and if labels fit.

    Raises:
        DataFileError: the split is not a folder, or holds no scenario. What else cannot be read is
            passed over.
    """
    findings = []
    names = list_scenarios(os.path.join(data_root, split), options.backend_args)
    names = [name for name in names if f'{split}/{name}' not in options.ignore.scenarios]
    for name in spread(names, 2):
        scenario = _Scenario(data_root, options, os.path.join(data_root, split, name))
        try:
            frames = scan_scenario(scenario.folder, options.backend_args)
        except DataFileError:
            continue
        chosen = _chosen(frames, _SAMPLE)
        moments = {frame for _, frame in chosen}
        for row in frames:
            if row.frame in moments:
                scenario.read(row, (row.agent, row.frame) in chosen)
        findings += scenario.reading(frames)
    return findings


def ignore_list_of(findings: list[Finding]) -> IgnoreList:
    """What to leave out so that training meets no broken file and no box that is none.

    The other errors are none of single files: a bad map has to be removed, wrong poses mended.
    """
    paths = defaultdict(set)
    for finding in findings:
        if finding.kind in _LISTED:
            paths[_LISTED[finding.kind]].add(finding.path)
    return IgnoreList(**{name: frozenset(found) for name, found in paths.items()})


def _check_split(split: str, counts: Counter, findings: list[Finding]) -> Iterator[Finding]:
    """Splits that training would learn nothing from."""
    if counts['clouds'] and not counts['good objects']:
        text = (
            f'{counts["clouds"]} clouds and not one label that can be read: another dataset (see '
            '--dataset), or files without labels'
        )
        yield Finding('no labels', 'error', split, text)
    bad = {name: set() for name in _LISTED.values()}
    for finding in findings:
        if finding.kind in _LISTED:
            bad[_LISTED[finding.kind]].add(finding.path)
    for name in ('annotations', 'clouds', 'objects'):
        if 2 * len(bad[name]) > counts[name]:
            text = (
                f'{len(bad[name])} of {counts[name]} {name} are bad: the cause is one for all of '
                'them, and has to be found; an ignore list is no help'
            )
            yield Finding(MOSTLY_BAD, 'error', split, text)


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


@dataclass
class _Scenario:
    """What becomes known of a scenario as its files are read."""

    data_root: str
    options: CheckOptions
    folder: str
    good: list[tuple[AgentFrame, Annotation]] = field(default_factory=list)
    sights: dict[tuple[int, int], Sight] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)

    def relative(self, path: str) -> str:
        """A path below the data root, with ``/`` between its parts."""
        return os.path.relpath(path, self.data_root).replace(os.sep, '/')

    def read(self, row: AgentFrame, with_sight: bool, skip: Container[str] = ()) -> list[Finding]:
        """Read one moment of one agent; its points are kept as a raster, and only if wanted."""
        path = self.relative(row.annotation)
        dialect, backend_args = resolve_dialect(self.options.dataset), self.options.backend_args
        bad: dict[str, str] = {}
        findings, annotation = [], None
        try:
            annotation = read_annotation(
                row.annotation, dialect, row.agent, backend_args, skip=skip, bad=bad
            )
        except DataFileError as error:
            findings.append(Finding('bad annotation', 'error', path, error.problem))
        else:
            self.good.append((row, annotation))
            self.counts['good objects'] += len(annotation.ids)
            self.counts['objects'] += len(annotation.ids) + len(bad)
        self.counts['annotations'] += 1
        findings += [
            Finding('bad object', 'error', f'{path}#{key}', text) for key, text in bad.items()
        ]
        if not row.cloud:
            text = 'expected a .bin or .pcd of the same name'
            return [*findings, Finding('no cloud', 'warning', path, text)]
        cloud = self.relative(row.cloud)
        if cloud in self.options.ignore.clouds:
            return findings
        self.counts['clouds'] += 1
        if not self.options.clouds:
            return findings
        try:
            points = read_point_cloud(row.cloud, backend_args)
        except DataFileError as error:
            return [*findings, Finding('bad cloud', 'error', cloud, error.problem)]
        if not len(points):
            findings.append(Finding('empty cloud', 'warning', cloud, 'has no finite point'))
        if annotation is not None and with_sight:
            if dialect.left_handed:
                points[:, 1] *= -1
            self.sights[row.agent, row.frame] = Sight(annotation.world_from_agent, points)
        return findings

    def findings(self, *found: Found) -> list[Finding]:
        """Findings whose paths are given within the scenario."""
        return [
            Finding(kind, severity, self.relative(os.path.join(self.folder, path)), text)
            for part in found
            for kind, severity, path, text in part
        ]

    def reading(self, frames: list[AgentFrame]) -> list[Finding]:
        """Whether these files are of the dataset that they were read as."""
        dataset = self.options.dataset
        strange = list(_check_dialect(frames, dataset, self.options.backend_args))
        return self.findings(strange or check_fit(self.good, self.sights, dataset))


def _check_scenario(
    data_root: str, options: CheckOptions, where: tuple[str, str]
) -> tuple[list[Finding], Counter]:
    """What is odd in one scenario, and how many annotations, clouds and objects it has."""
    scenario = _Scenario(data_root, options, os.path.join(data_root, *where))
    try:
        every = scan_scenario(scenario.folder, options.backend_args)
    except DataFileError as error:
        text = str(error).replace(data_root, '').lstrip('/')
        path = scenario.relative(scenario.folder)
        return [Finding('bad scenario', 'error', path, text)], scenario.counts
    skip = options.ignore.keys_by_annotation()
    frames = [
        row for row in every if scenario.relative(row.annotation) not in options.ignore.annotations
    ]
    chosen = _chosen(frames, _MOMENTS)
    findings = []
    for row in frames:
        keys = skip[scenario.relative(row.annotation)]
        findings += scenario.read(row, (row.agent, row.frame) in chosen, keys)
    findings += _check_folders(scenario.folder, every, options, scenario.relative)
    findings += scenario.findings(
        check_agents(scenario.good, options),
        check_labels(scenario.good, options),
        check_tracks(scenario.good, options),
        check_boxes(scenario.good),
    )
    return findings + scenario.reading(frames), scenario.counts


def _chosen(frames: list[AgentFrame], count: int) -> set[tuple[int, int]]:
    """(agent, frame) of some moments of each agent, evenly spread over its recording."""
    by_agent = defaultdict(list)
    for row in frames:
        if row.cloud:
            by_agent[row.agent].append((row.agent, row.frame))
    return {moment for moments in by_agent.values() for moment in spread(moments, count)}


def _check_dialect(frames: list[AgentFrame], dataset: str, backend_args: dict | None) -> Found:
    """Agents whose files show another dataset's conventions."""
    for agent, rows in groupby(frames, key=lambda row: row.agent):
        text = contradiction(list(rows), dataset, backend_args)
        if text:
            yield OTHER_DATASET, 'error', str(agent), text


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
