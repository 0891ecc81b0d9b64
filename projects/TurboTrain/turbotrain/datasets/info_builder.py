"""Builds info files: every annotation of a split is parsed once, scenarios in parallel."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..whole_file import whole_file
from ..workers import worker_pool
from .ignore_list import IgnoreList
from .info_file import INFO_VERSION
from .infos import Infos
from .readers import (
    LABELS,
    AgentFrame,
    DataFileError,
    Source,
    open_source,
    read_moment,
    resolve_dialect,
)

__all__ = ['build_infos']

_MAX_CLASSES = np.iinfo(np.int16).max


@dataclass(frozen=True)
class _Job:
    """What a worker has to know to read any scenario."""

    data_root: str
    split: str
    dataset: str
    ignore: IgnoreList
    parts_dir: str | None
    backend_args: dict | None
    labels: str | None

    @property
    def source(self) -> Source:
        """Where the files are."""
        return open_source(
            self.data_root, self.dataset, self.labels or LABELS[0], self.backend_args
        )


def build_infos(
    data_root: str,
    split: str,
    dataset: str = 'v2xpnp',
    workers: int = 1,
    progress: Callable[..., object] | None = None,
    ignore: IgnoreList | None = None,
    parts_dir: str | None = None,
    backend_args: dict | None = None,
    labels: str | None = LABELS[0],
    scenario: str | None = None,
) -> Infos:
    """Read all annotations of a split.

    Args:
        data_root: folder of the dataset.
        split: name of the split's folder, or of the split in the dataset's own lists.
        dataset: whose conventions the files follow, a key of ``DIALECTS``.
        workers: processes to read with.
        progress: wraps the iterator over scenarios, e.g. ``tqdm``; called with ``total``.
        ignore: what to leave out.
        parts_dir: keep every scenario that is done in this folder, and take from there what is
            done already; for a build that may be interrupted.
        backend_args: where mmengine's fileio finds the folder; local disk by default.
        labels: which labels to read, of a dataset that has several kinds, see ``open_source``. With
            None no objects are read, and annotations need not have any.
        scenario: the one to read; None is for all of the split.

    Raises:
        DataFileError: a folder or an annotation is not as the format says.
        ValueError: the dataset, or the kind of labels, is unknown.
    """
    if parts_dir is not None:
        os.makedirs(parts_dir, exist_ok=True)
    job = _Job(data_root, split, dataset, ignore or IgnoreList(), parts_dir, backend_args, labels)
    names = [
        name
        for name in ([scenario] if scenario else job.source.scenarios(split))
        if f'{split}/{name}' not in job.ignore.scenarios
    ]
    read = partial(_read_scenario, job)
    if workers > 1:
        with worker_pool(workers) as pool:
            parts = _consume(pool.map(read, names), len(names), progress)
    else:
        parts = _consume(map(read, names), len(names), progress)
    return _join(os.path.join(data_root, split), job, names, parts)


def _consume(parts: object, total: int, progress: Callable[..., object] | None) -> list[dict]:
    return list(parts if progress is None else progress(parts, total=total))


def _join(split_dir: str, job: _Job, names: list[str], parts: list[dict]) -> Infos:
    if not sum(len(part['agent']) for part in parts):
        raise DataFileError(split_dir, 'everything in it is on the ignore list')
    clouds = sum(int((part['cloud'] != '').sum()) for part in parts)
    if job.labels is not None and clouds and not sum(len(part['object_id']) for part in parts):
        raise DataFileError(
            split_dir,
            f'has {clouds} clouds and not one label; read as {job.dataset}, python '
            'tools/check_dataset.py says whether the files are of another dataset',
        )
    columns = {key: [part[key] for part in parts] for key in parts[0]}
    scenario = np.repeat(np.arange(len(names), dtype=np.int32), [len(a) for a in columns['agent']])
    types = columns.pop('type')
    class_names, object_class = np.unique(np.concatenate(types), return_inverse=True)
    if len(class_names) > _MAX_CLASSES:
        raise DataFileError(
            split_dir, f'has objects of {len(class_names)} classes; expected {_MAX_CLASSES} at most'
        )
    counts = np.concatenate(columns.pop('count'))
    return Infos(
        dataset=np.array(job.dataset),
        labels=np.array(job.labels or LABELS[0]),
        scenarios=np.array(names),
        class_names=class_names,
        scenario=scenario,
        object_begin=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        object_class=object_class.astype(np.int16),
        **{key: np.concatenate(column) for key, column in columns.items()},
    )


def _read_scenario(job: _Job, name: str) -> dict[str, np.ndarray]:
    """One scenario's columns, from its part if an earlier build left one of these very files."""
    found = job.source.frames(job.split, name)
    if job.parts_dir is None:
        return _parse(job, found)
    part = Path(job.parts_dir) / f'{_digest(job, found)}.npz'
    try:
        with np.load(part, allow_pickle=False) as file:
            return dict(file)
    except Exception:  # there is none, or it was cut off
        columns = _parse(job, found)
    with whole_file(part) as file:
        np.savez(file, **columns)
    return columns


def _digest(job: _Job, found: list[AgentFrame]) -> str:
    """Changes when the files do; of a storage without file times, when their names do."""
    words = [
        str(INFO_VERSION),
        job.dataset,
        str(job.labels),
        repr({k: sorted(v) for k, v in vars(job.ignore).items()}),
    ]
    for row in found:
        words.append(repr(row))
        if job.backend_args is None:
            stats = map(os.stat, row.sources)
            words += [f'{stat.st_size} {stat.st_mtime_ns}' for stat in stats]
    return hashlib.sha256('\n'.join(words).encode()).hexdigest()[:32]


def _parse(job: _Job, found: list[AgentFrame]) -> dict[str, np.ndarray]:
    def relative(path: str) -> str:
        return os.path.relpath(path, job.data_root).replace(os.sep, '/')

    found = [row for row in found if relative(row.annotation) not in job.ignore.annotations]
    dialect = resolve_dialect(job.dataset)
    skip = job.ignore.keys_by_annotation()
    annotations = [
        read_moment(
            row,
            dialect,
            job.backend_args,
            skip=skip[relative(row.annotation)],
            labels=job.labels is not None,
        )
        for row in found
    ]
    clouds = [relative(row.cloud) if row.cloud else '' for row in found]
    clouds = ['' if cloud in job.ignore.clouds else cloud for cloud in clouds]

    def stack(arrays: list[np.ndarray], shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.concatenate([np.zeros((0, *shape)), *arrays]).astype(dtype)

    return dict(
        agent=np.array([row.agent for row in found], dtype=np.int32),
        frame=np.array([row.frame for row in found], dtype=np.int32),
        world_from_agent=stack([a.world_from_agent[None] for a in annotations], (4, 4), np.float64),
        cloud=np.array(clouds, dtype=np.str_),
        lag=np.array([row.lag for row in found], dtype=np.float32),
        labelled=np.array([row.labelled for row in found], dtype=bool),
        count=np.array([len(a.ids) for a in annotations], dtype=np.int64),
        type=np.array([name for a in annotations for name in a.types], dtype=np.str_),
        object_id=np.concatenate([np.zeros(0, np.int64), *(a.ids for a in annotations)]),
        object_centre=stack([a.centres for a in annotations], (3,), np.float64),
        object_angle=stack([a.angles for a in annotations], (3,), np.float32),
        object_extent=stack([a.extents for a in annotations], (3,), np.float32),
    )
