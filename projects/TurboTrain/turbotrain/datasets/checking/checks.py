"""Looks for what is broken in a dataset, or merely odd, before training stumbles over it.

Everything is read by the readers that training uses: what passes here is read there. One finding
stands for all occurrences of a kind in one place, with the first as an example.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from ...workers import worker_pool
from ..ignore_list import IgnoreList
from ..readers import (
    DairSource,
    DataFileError,
    list_folder,
    read_trajectories,
    read_vector_map,
)
from .pairs import check_lists
from .plausibility import CheckOptions, spread
from .scenario_checks import OTHER_DATASET, Finding, Scenario, check_scenario, sampled

__all__ = [
    'MOSTLY_BAD',
    'OTHER_DATASET',
    'CheckOptions',
    'Finding',
    'check_dataset',
    'check_sample',
    'ignore_list_of',
]

MOSTLY_BAD = 'mostly bad'
_MAP = '_vector_map.pkl'
_SAMPLE = 3  # moments of each agent that a look in passing takes; our choice
# What an ignore list can leave out, by the kind of finding.
_LISTED = {
    'bad scenario': 'scenarios',
    'bad annotation': 'annotations',
    'bad cloud': 'clouds',
    'bad object': 'objects',
    'absurd size': 'objects',
    'doubled box': 'objects',
}


def check_dataset(
    data_root: str,
    splits: list[str],
    options: CheckOptions,
    workers: int = 1,
    progress: Callable[..., Iterable] | None = None,
) -> list[Finding]:
    """Check all scenarios of some splits, one at a time per process.

    Args:
        data_root: folder of the dataset.
        splits: names of the splits.
        options: what to look for.
        workers: how many processes share the work.
        progress: wraps the iterator over scenarios, e.g. ``tqdm``; called with ``total``.

    Raises:
        DataFileError: there is no such split, or it holds no scenario.
    """
    source = options.source(data_root)
    todo = [
        (split, name)
        for split in splits
        for name in source.scenarios(split)
        if f'{split}/{name}' not in options.ignore.scenarios
    ]
    check = partial(check_scenario, data_root, options)
    with worker_pool(workers) as pool:
        parts = pool.map(check, todo)
        found = list(parts if progress is None else progress(parts, total=len(todo)))
    by_split: dict[str, list[Finding]] = {split: [] for split in splits}
    counts = defaultdict(Counter)
    for (split, _), (part, counted) in zip(todo, found, strict=True):
        by_split[split] += part
        counts[split].update(counted)
    findings = []
    for split, inside in by_split.items():
        findings += [*inside, *_check_split(split, counts[split], inside)]
    if isinstance(source, DairSource):
        findings += [Finding(*found) for found in check_lists(source, splits)]
    homes = defaultdict(list)
    for split, name in todo:
        homes[name].append(split)
    for name, where in homes.items():
        if len(where) > 1:
            text = f'expected every scenario in one split, found it in {", ".join(where)}'
            findings.append(Finding('in two splits', 'warning', f'{where[-1]}/{name}', text))
    return findings + list(_check_pickles(data_root, options.backend_args))


def check_sample(data_root: str, split: str, options: CheckOptions) -> list[Finding]:
    """Look at a few moments of the first and last scenario: bad clouds, and if labels fit points.

    Raises:
        DataFileError: there is no such split, or it holds no scenario. Annotations that cannot be
            read are passed over.
    """
    findings = []
    source = options.source(data_root)
    names = source.scenarios(split)
    names = [name for name in names if f'{split}/{name}' not in options.ignore.scenarios]
    for name in spread(names, 2):
        scenario = Scenario(data_root, options, os.path.join(data_root, split, name))
        try:
            frames = source.frames(split, name)
        except DataFileError:
            continue
        chosen = sampled(frames, _SAMPLE)
        moments = {frame for _, frame in chosen}
        for row in frames:
            if row.frame in moments:
                read = scenario.read(row, (row.agent, row.frame) in chosen)
                # Annotations are read in full later on, clouds are not.
                findings += [finding for finding in read if finding.kind == 'bad cloud']
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
