"""One moment of one side of DAIR-V2X-C or V2X-Seq: where it is, and what its files say."""

import math
from collections.abc import Container
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...structures import matrix_to_pose
from .annotation import LONE_IDS, TINY, Annotation
from .dair_calibration import CORRECTIONS, read_transform, read_unit_pose, world_from_vehicle
from .dair_labels import MAX_OBJECTS, read_cooperative_labels
from .dialects import DairDialect
from .scenario import AgentFrame

__all__ = ['DairFrame', 'Oddity', 'read_dair_frame']

_OWN_BODY = 2.0  # m in the plane; a cooperative label that near the LiDAR is the vehicle itself


@dataclass(frozen=True)
class DairFrame(AgentFrame):
    """One side at one time; see :class:`AgentFrame`.

    ``annotation`` is the file of cooperative labels, or else the file that says where the agent is.

    Attributes:
        vehicle: paths of ``lidar_to_novatel`` and ``novatel_to_world`` of the vehicle's frame.
        unit: path of ``virtuallidar_to_world``; ``''`` on the vehicle's row.
        offset: (2,) m, the correction of this pair, or of the nearest one.
        labels: path of the cooperative labels; ``''`` on the unit's row, and where there are none.
        paired: the split has this very pair.
    """

    vehicle: tuple[str, str] = ('', '')
    unit: str = ''
    offset: tuple[float, float] = (0.0, 0.0)
    labels: str = ''
    paired: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """See :attr:`AgentFrame.sources`."""
        return tuple(filter(None, (*self.vehicle, self.unit, self.labels)))


class Oddity(NamedTuple):
    """What a list says that is not used, or not as it is."""

    kind: str
    path: str
    text: str


def read_dair_frame(
    row: DairFrame,
    dialect: DairDialect,
    backend_args: dict | None = None,
    skip: Container[str] = (),
    bad: dict[str, str] | None = None,
    left_out: dict[str, Oddity] | None = None,
) -> Annotation:
    """What one side's files say of one moment.

    Args:
        row: the side and the moment.
        dialect: which of the two sets it is of.
        backend_args: where mmengine's fileio finds the files; local disk by default.
        skip: see :func:`~.annotation.read_annotation`.
        bad: see :func:`~.annotation.read_annotation`.
        left_out: gets what of the file is not used as it is, by the object's key.

    Returns:
        The annotation. Objects without a track, and all but the first with one track id, get an id
        that nothing else in the scenario has. Boxes without a size, and the vehicle's own, are left
        out.

    Raises:
        DataFileError: a file is missing or damaged.
    """
    novatel_from_vehicle, world_from_novatel = (
        read_transform(path, backend_args) for path in row.vehicle
    )
    pose = vehicle = world_from_vehicle(novatel_from_vehicle, world_from_novatel)
    if row.unit:
        unit = read_unit_pose(row.unit, backend_args)
        correct = CORRECTIONS[dialect.correction]
        pose = vehicle @ correct(vehicle, unit.world_from_unit, row.offset)
        if left_out is not None and dialect.correction == 'world':
            _compare_corrections(row, unit.relative_error, left_out)
    notes = {} if left_out is None else left_out
    return _annotation(row, dialect, pose, backend_args, skip, bad, notes)


def _annotation(
    row: DairFrame,
    dialect: DairDialect,
    pose: np.ndarray,
    backend_args: dict | None,
    skip: Container[str],
    bad: dict[str, str] | None,
    notes: dict[str, Oddity],
) -> Annotation:
    keys: list[str] = []
    types: list[str] = []
    ids: list[int] = []
    poses, extents = np.zeros((0, 6)), np.zeros((0, 3))
    if row.labels:
        found = read_cooperative_labels(row.labels, dialect, backend_args, skip, bad)
        in_world = found.poses if dialect.labels == 'world' else pose @ found.poses
        away = np.linalg.norm(in_world[:, :2, 3] - pose[:2, 3], axis=1)
        kept, known = [], set()
        for i, (key, track) in enumerate(zip(found.keys, found.tracks, strict=True)):
            if found.sizes[i].min() < 2 * TINY:
                notes[key] = Oddity('box without a size', row.labels, 'is left out')
                continue
            if away[i] < _OWN_BODY:
                text = f'{away[i]:.1f} m from the LiDAR, is the vehicle itself, and is left out'
                notes[key] = Oddity('own body', row.labels, text)
                continue
            if track in known:
                text = f'track {track} is there twice; this one gets an id of its own'
                notes[key] = Oddity('doubled track', row.labels, text)
            if track is None or track in known:
                ids.append(LONE_IDS + row.frame * MAX_OBJECTS + int(key))
            else:
                ids.append(track)
                known.add(track)
            keys.append(key)
            types.append(found.types[i])
            kept.append(i)
        poses, extents = matrix_to_pose(in_world[kept]), found.sizes[kept] / 2
    return Annotation(
        world_from_agent=pose,
        keys=keys,
        ids=np.array(ids, dtype=np.int64),
        types=types,
        centres=poses[:, :3],
        angles=poses[:, 3:],
        extents=extents,
    )


def _compare_corrections(
    row: DairFrame, own: tuple[float, float], left_out: dict[str, Oddity]
) -> None:
    """Note where a unit's file and its pair name two corrections."""
    if row.paired and math.dist(own, row.offset) > 1e-3:
        text = (
            f"relative_error is ({own[0]:g}, {own[1]:g}) m, the pair's system_error_offset "
            f'({row.offset[0]:g}, {row.offset[1]:g}) m; the latter counts'
        )
        left_out['relative_error'] = Oddity('two corrections', row.unit, text)
