"""Where a data set's scenarios and moments are, and how they are read: one door for all layouts."""

import os
from collections.abc import Container
from dataclasses import replace
from typing import Protocol

from ...errors import SettingError
from .annotation import Annotation, read_annotation
from .dair_frames import DairFrame, Oddity, read_dair_frame
from .dair_index import LABELS, DairIndex, dair_index
from .dialects import DairDialect, Dialect, resolve_dialect
from .errors import DataFileError
from .scenario import AgentFrame, list_scenarios, scan_scenario

__all__ = ['DairSource', 'FolderSource', 'Source', 'open_source', 'read_moment']


class Source(Protocol):
    """A data set on disk."""

    def scenarios(self, split: str) -> list[str]:
        """Names of a split's scenarios, sorted.

        Raises:
            DataFileError: there is no such split, or it holds no scenario.
        """

    def frames(self, split: str, name: str) -> list[AgentFrame]:
        """What every agent of a scenario recorded, sorted by agent id and frame.

        Raises:
            DataFileError: the scenario is not as the format says.
        """


class FolderSource:
    """The OpenCOOD family: ``<root>/<split>/<scenario>/<agent>/<frame>.yaml``."""

    def __init__(self, root: str, backend_args: dict | None = None) -> None:
        self.root, self.backend_args = root, backend_args

    def scenarios(self, split: str) -> list[str]:
        """See :class:`Source`."""
        return list_scenarios(os.path.join(self.root, split), self.backend_args)

    def frames(self, split: str, name: str) -> list[AgentFrame]:
        """See :class:`Source`."""
        return scan_scenario(os.path.join(self.root, split, name), self.backend_args)


class DairSource:
    """DAIR-V2X-C and V2X-Seq: a folder for each side, and lists of frames, pairs and splits.

    Args:
        root: see :func:`~.dair_index.dair_index`, as for all others.
        dialect: which of the two it is.
        labels: ``original`` or ``complemented``.
        backend_args: where mmengine's fileio finds the folder; local disk by default.
    """

    def __init__(
        self,
        root: str,
        dialect: DairDialect,
        labels: str = 'original',
        backend_args: dict | None = None,
    ) -> None:
        self.root, self.dialect = root, dialect
        self.labels, self.backend_args = labels, backend_args

    @property
    def index(self) -> DairIndex:
        """All frames of the set.

        Raises:
            DataFileError: a list or a folder is missing or damaged.
        """
        return dair_index(self.root, self.dialect, self.labels, self.backend_args)

    def labelled_splits(self) -> list[str]:
        """Names of the splits with labels, of which those of the test split may never come."""
        return [
            split
            for split, scenarios in self.index.splits.items()
            if any(row.labelled for rows in scenarios.values() for row in rows)
        ]

    def scenarios(self, split: str) -> list[str]:
        """See :class:`Source`."""
        found = list(self.index.splits.get(split, ()))
        if not found:
            path = os.path.join(self.root, self.dialect.split_file)
            raise DataFileError(path, f'names no pair of the split {split!r} that is in the lists')
        return found

    def frames(self, split: str, name: str) -> list[AgentFrame]:
        """See :class:`Source`."""
        return list(self.index.splits[split][name])


def open_source(
    root: str, dataset: str, labels: str = 'original', backend_args: dict | None = None
) -> Source:
    """The source of a data set.

    Args:
        root: folder of the data set.
        dataset: whose conventions its files follow, a key of ``DIALECTS``.
        labels: which of two kinds of labels is read, where a set has two: see
            :func:`~.dair_index.dair_index`.
        backend_args: where mmengine's fileio finds the folder; local disk by default.

    Raises:
        SettingError: the dataset, or the kind of labels, is unknown.
    """
    dialect = resolve_dialect(dataset)
    if labels not in LABELS or (labels != LABELS[0] and dataset != 'dair_v2x_c'):
        raise SettingError(f'labels: {dataset} has the original ones only, got {labels!r}')
    if isinstance(dialect, DairDialect):
        return DairSource(root, dialect, labels, backend_args)
    return FolderSource(root, backend_args)


def read_moment(
    row: AgentFrame,
    dialect: Dialect,
    backend_args: dict | None = None,
    skip: Container[str] = (),
    bad: dict[str, str] | None = None,
    left_out: dict[str, Oddity] | None = None,
    labels: bool = True,
) -> Annotation:
    """Read what one agent's files say of one moment, whatever their layout.

    Args:
        row: the agent and the moment.
        dialect: how the dataset writes poses and objects.
        backend_args: where mmengine's fileio finds the files; local disk by default.
        skip: see :func:`~.annotation.read_annotation`.
        bad: see :func:`~.annotation.read_annotation`.
        left_out: gets what is not used as it is in the file, where a reader leaves out such things.
        labels: whether to read objects; if not, there need not be any.

    Raises:
        DataFileError: a file is missing or damaged.
    """
    if isinstance(row, DairFrame):
        row = row if labels else replace(row, labels='')
        return read_dair_frame(row, dialect, backend_args, skip, bad, left_out)
    return read_annotation(row.annotation, dialect, row.agent, backend_args, skip, bad, labels)
