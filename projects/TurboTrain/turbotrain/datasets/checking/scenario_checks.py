"""Reads one scenario as training would, and looks at what it says."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from ..readers import (
    AGENT,
    CLOUD_SUFFIXES,
    AgentFrame,
    Annotation,
    DairDialect,
    DataFileError,
    Oddity,
    list_folder,
    read_moment,
    read_point_cloud,
    resolve_dialect,
)
from .agreement import Sight
from .misfits import check_fit
from .pairs import check_pairs
from .plausibility import (
    CheckOptions,
    Found,
    check_agents,
    check_boxes,
    check_labels,
    check_tracks,
    spread,
)
from .recognition import contradiction

__all__ = ['OTHER_DATASET', 'Finding', 'Scenario', 'check_scenario', 'sampled']

OTHER_DATASET = 'other dataset'
_MOMENTS = 8  # of each agent, at which labels are compared with points; our choice


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


@dataclass
class Scenario:
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
        left_out: dict[str, Oddity] = {}
        findings, annotation = [], None
        try:
            annotation = read_moment(row, dialect, backend_args, skip, bad, left_out)
        except DataFileError as error:
            same = error.path == row.annotation
            text = error.problem if same else f'{self.relative(error.path)}: {error.problem}'
            findings.append(Finding('bad annotation', 'error', path, text))
        else:
            self.good.append((row, annotation))
            self.counts['good objects'] += len(annotation.ids)
            self.counts['objects'] += len(annotation.ids) + len(bad)
        self.counts['annotations'] += 1
        findings += [
            Finding('bad object', 'error', f'{path}#{key}', text) for key, text in bad.items()
        ]
        findings += [
            Finding(odd.kind, 'warning', f'{self.relative(odd.path)}#{key}', odd.text)
            for key, odd in left_out.items()
        ]
        if not row.cloud:
            text = 'expected a cloud of the same name, .bin or .pcd'
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


def check_scenario(
    data_root: str, options: CheckOptions, where: tuple[str, str]
) -> tuple[list[Finding], Counter]:
    """What is odd in one scenario, and how many annotations, clouds and objects it has."""
    scenario = Scenario(data_root, options, os.path.join(data_root, *where))
    try:
        every = options.source(data_root).frames(*where)
    except DataFileError as error:
        text = str(error).replace(data_root, '').lstrip('/')
        path = scenario.relative(scenario.folder)
        return [Finding('bad scenario', 'error', path, text)], scenario.counts
    skip = options.ignore.keys_by_annotation()
    frames = [
        row for row in every if scenario.relative(row.annotation) not in options.ignore.annotations
    ]
    chosen = sampled(frames, _MOMENTS)
    findings = []
    for row in frames:
        keys = skip[scenario.relative(row.annotation)]
        findings += scenario.read(row, (row.agent, row.frame) in chosen, keys)
    dialect = resolve_dialect(options.dataset)
    if not isinstance(dialect, DairDialect):
        findings += _check_folders(scenario.folder, every, options, scenario.relative)
    findings += scenario.findings(
        check_pairs(frames),
        check_agents(scenario.good, options),
        check_labels(scenario.good, options),
        check_tracks(scenario.good, options),
        check_boxes(scenario.good),
    )
    return findings + scenario.reading(frames), scenario.counts


def sampled(frames: list[AgentFrame], count: int) -> set[tuple[int, int]]:
    """(agent, frame) of some moments of each agent, evenly spread over its recording."""
    by_agent = defaultdict(list)
    for row in frames:
        if row.cloud and row.labelled:
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
