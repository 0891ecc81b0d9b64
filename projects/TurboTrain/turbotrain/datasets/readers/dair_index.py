"""DAIR-V2X-C and V2X-Seq as they lie on a disk: which frames belong together.

One vehicle (agent 1) and one roadside unit (agent -1) at a time. The two sides number their frames
each by itself, so that only timestamps tell which are of one time:

* A vehicle's frame keeps its number. Its past are the frames of its batch or sequence with smaller
  numbers, paired or not.
* A frame of the roadside unit gets the number of the vehicle's frame that the authors pair it with,
  or else of the nearest one in time within 50 ms. Of two claims the nearer one counts.
* A frame of the vehicle with two pairs keeps the nearer in time.
* A batch whose clock does not go by 100 ms from one number to the next is cut there, so that no
  step in frames is another one in time.

Cooperative labels count once, on the vehicle's row: the unit's own ids would double them.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from glob import escape, glob
from itertools import pairwise

import numpy as np

from .dair_frames import DairFrame, Oddity
from .dair_lists import Moment, Pair, read_moments, read_pairs, read_splits
from .dialects import DIALECTS, DairDialect
from .errors import DataFileError
from .files import list_folder

__all__ = ['LABELS', 'DairIndex', 'dair_index']

LABELS = ('original', 'complemented')
_VEHICLE, _UNIT = 1, -1  # the agents' ids
_SIDES = {_VEHICLE: 'vehicle-side', _UNIT: 'infrastructure-side'}
_POSES = {
    _VEHICLE: ('lidar_to_novatel', 'novatel_to_world'),
    _UNIT: ('virtuallidar_to_world',),
}
_STEP = 100_000  # microseconds from one frame number to the next
_TOLERANCE = 50_000  # microseconds
_MICRO = 1e-6


@dataclass
class DairIndex:
    """All frames of a set.

    Attributes:
        splits: for each split its scenarios, by name: their frames, by agent and number. Names are
            those of sequences or batches; a later part of one that was cut has the number of its
            first frame behind it.
        oddities: for each split what is to be known of its lists.
    """

    splits: dict[str, dict[str, list[DairFrame]]] = field(default_factory=dict)
    oddities: dict[str, list[Oddity]] = field(default_factory=dict)


def dair_index(
    root: str, dialect: DairDialect, labels: str = 'original', backend_args: dict | None = None
) -> DairIndex:
    """Read the lists of a set; a process keeps the last one as long as the files stay as they are.

    Args:
        root: the folder of ``vehicle-side``, ``infrastructure-side`` and ``cooperative``, with the
            authors' split file.
        dialect: which of the two sets it is.
        labels: ``original``, or ``complemented`` for CoAlign's of DAIR-V2X-C, which are unpacked in
            place of the original ones while these are kept beside them as ``*_backup``.
        backend_args: where mmengine's fileio finds the folder; local disk by default.

    Raises:
        DataFileError: a file or folder is missing, damaged, or of the other set.
    """
    stamp = ''
    if backend_args is None:
        folders = [glob(f'{escape(root)}/{inner}/') for inner in ('*', '*/*', '*/calib/*')]
        for path in (*_lists(root, dialect), *sum(folders, [])):
            if os.path.exists(path):
                stat = os.stat(path)
                stamp += f'{path} {stat.st_size} {stat.st_mtime_ns} '
    arguments = json.dumps(backend_args, sort_keys=True, default=repr)
    return _index(root, dialect, labels, arguments, stamp)


def _lists(root: str, dialect: DairDialect) -> tuple[str, ...]:
    folders = (_SIDES[_VEHICLE], _SIDES[_UNIT], 'cooperative')
    return (
        *(os.path.join(root, folder, 'data_info.json') for folder in folders),
        os.path.join(root, dialect.split_file),
    )


@lru_cache(maxsize=1)
def _index(root: str, dialect: DairDialect, labels: str, arguments: str, stamp: str) -> DairIndex:
    backend_args = json.loads(arguments)
    *lists, split_file = _lists(root, dialect)
    files = _Files(root, dialect, labels, backend_args)
    vehicles, units = (read_moments(path, backend_args) for path in lists[:2])
    pairs = read_pairs(lists[2], backend_args)
    index = DairIndex()
    for split, ids in read_splits(split_file, backend_args).items():
        builder = _SplitBuilder(files, vehicles, units, pairs, ids)
        index.splits[split] = builder.scenarios()
        index.oddities[split] = builder.oddities
    if not any(index.splits.values()):
        raise DataFileError(split_file, 'names no frame that has a pair')
    return index


class _Files:
    """Which files there are, by what their names are made of."""

    def __init__(
        self, root: str, dialect: DairDialect, labels: str, backend_args: dict | None
    ) -> None:
        self.root, self.backend_args = root, backend_args
        self.top = set(list_folder(root, backend_args).folders)
        self.labels = os.path.join('cooperative', self._label_folder(dialect, labels))
        self.clouds = {side: self._cloud_folder(name) for side, name in _SIDES.items()}
        self.poses = {
            side: tuple(os.path.join(_SIDES[side], 'calib', name) for name in names)
            for side, names in _POSES.items()
        }
        folders = [self.labels, *self.clouds.values(), *sum(self.poses.values(), ())]
        self._there = {folder: self._names(folder) for folder in folders}

    def path(self, folder: str, name: str) -> str:
        """Where a frame's file is; ``''`` where it is missing."""
        file = name + ('.pcd' if folder in self.clouds.values() else '.json')
        return os.path.join(self.root, folder, file) if file in self._there[folder] else ''

    def _names(self, folder: str) -> set[str]:
        return set(list_folder(os.path.join(self.root, folder), self.backend_args).files)

    def _label_folder(self, dialect: DairDialect, labels: str) -> str:
        path = os.path.join(self.root, 'cooperative')
        there = list_folder(path, self.backend_args).folders
        name, backup = dialect.label_folder, f'{dialect.label_folder}_backup'
        if name not in there:
            others = {d.label_folder: n for n, d in DIALECTS.items() if isinstance(d, DairDialect)}
            other = next((others[folder] for folder in there if folder in others), None)
            hint = f'; {other} has what is there' if other else ''
            raise DataFileError(path, f'expected a folder {name!r}{hint}')
        if labels == 'complemented' and backup not in there:
            raise DataFileError(
                path,
                f'expected {backup!r} beside {name!r}: rename the original labels to it and unpack '
                'the complemented ones in their place',
            )
        return backup if labels == 'original' and backup in there else name

    def _cloud_folder(self, side: str) -> str:
        """``velodyne`` of a side, or the folder that DAIR-V2X-C's separate archive has."""
        apart = f'cooperative-vehicle-infrastructure-{side}-velodyne'
        inside = list_folder(os.path.join(self.root, side), self.backend_args).folders
        return apart if 'velodyne' not in inside and apart in self.top else f'{side}/velodyne'


class _SplitBuilder:
    """Makes the scenarios of one split."""

    def __init__(
        self,
        files: _Files,
        vehicles: dict[str, Moment],
        units: dict[str, Moment],
        pairs: list[Pair],
        ids: frozenset[str],
    ) -> None:
        self.files, self.vehicles, self.units, self.ids = files, vehicles, units, ids
        self.oddities: list[Oddity] = []
        self.pairs = self._choose(pairs)
        self.by_group: dict[str, list[Moment]] = defaultdict(list)
        for unit in units.values():
            self.by_group[unit.group].append(unit)

    def scenarios(self) -> dict[str, list[DairFrame]]:
        """The frames of each scenario that has a pair of the split, by its name."""
        groups = defaultdict(list)
        wanted = {self.vehicles[name].group for name in self.ids if name in self.vehicles}
        for moment in self.vehicles.values():
            if moment.group in wanted:
                groups[moment.group].append(moment)
        found = {}
        for group, moments in sorted(groups.items()):
            for part in self._parts(sorted(moments, key=lambda m: m.number)):
                if any(m.id in self.pairs and m.id in self.ids for m in part):
                    name = group if group not in found else f'{group}_{part[0].id}'
                    found[name] = sorted(self._rows(part), key=lambda r: (r.agent, r.frame))
        return dict(sorted(found.items()))

    def _odd(self, kind: str, path: str, text: str) -> None:
        self.oddities.append(Oddity(kind, path, text))

    def _choose(self, pairs: list[Pair]) -> dict[str, Pair]:
        """The pair of each of the vehicle's frames, the nearest in time."""
        chosen: dict[str, Pair] = {}
        for pair in pairs:
            if pair.vehicle not in self.vehicles or pair.unit not in self.units:
                if pair.vehicle in self.ids:
                    text = f'frames {pair.vehicle} and {pair.unit} are not both in their lists'
                    self._odd('pair without a frame', 'cooperative/data_info.json', text)
                continue
            other = chosen.setdefault(pair.vehicle, pair)
            if other != pair:
                near, far = sorted((pair, other), key=lambda p: abs(self._lag(p)))
                chosen[pair.vehicle] = near
                if pair.vehicle in self.ids:
                    text = (
                        f'frame {pair.vehicle} is paired with {near.unit} and {far.unit}; the '
                        'nearer in time counts, the former'
                    )
                    self._odd('two pairs', 'cooperative/data_info.json', text)
        for name in sorted(self.ids - chosen.keys()):
            text = f'frame {name} of the split has no pair, and makes no sample'
            self._odd('frame without a pair', 'cooperative/data_info.json', text)
        return chosen

    def _lag(self, pair: Pair) -> int:
        """Microseconds by which the unit's frame is older than the vehicle's."""
        return self.vehicles[pair.vehicle].time - self.units[pair.unit].time

    def _parts(self, moments: list[Moment]) -> Iterator[list[Moment]]:
        """A batch, cut where its clock does not go by its frame numbers."""
        begin = 0
        for i, (one, other) in enumerate(pairwise(moments), start=1):
            steps = other.number - one.number
            if abs(other.time - one.time - steps * _STEP) > _TOLERANCE:
                text = (
                    f'from frame {one.id} to {other.id} of {one.group} it is '
                    f'{(other.time - one.time) * _MICRO:.2f} s, expected {steps * _STEP * _MICRO:g}'
                    ' s; the scenario is cut there'
                )
                self._odd('clock jump', f'{_SIDES[_VEHICLE]}/data_info.json', text)
                yield moments[begin:i]
                begin = i
        yield moments[begin:]

    def _rows(self, part: list[Moment]) -> Iterator[DairFrame]:
        offsets = {m.number: self.pairs[m.id].offset for m in part if m.id in self.pairs}
        numbers = np.array(list(offsets))
        for moment, unit in zip(part, self._units_of(part), strict=True):
            poses = tuple(self.files.path(f, moment.id) for f in self.files.poses[_VEHICLE])
            if not all(poses):
                text = f'frame {moment.id} has no calibration, and is left out'
                self._odd('no calibration', f'{_SIDES[_VEHICLE]}/calib', text)
                continue
            paired = moment.id in self.pairs and moment.id in self.ids
            labels = self.files.path(self.files.labels, moment.id) if paired else ''
            known = dict(frame=moment.number, vehicle=poses, paired=paired, labelled=bool(labels))
            yield DairFrame(
                agent=_VEHICLE,
                annotation=labels or poses[-1],
                cloud=self.files.path(self.files.clouds[_VEHICLE], moment.id),
                labels=labels,
                **known,
            )
            if unit is None:
                continue
            (pose,) = (self.files.path(f, unit.id) for f in self.files.poses[_UNIT])
            if not pose:
                text = f'frame {unit.id} has no calibration, and is left out'
                self._odd('no calibration', f'{_SIDES[_UNIT]}/calib', text)
                continue
            nearest = numbers[np.abs(numbers - moment.number).argmin()]
            yield DairFrame(
                agent=_UNIT,
                annotation=pose,
                cloud=self.files.path(self.files.clouds[_UNIT], unit.id),
                lag=(moment.time - unit.time) * _MICRO,
                unit=pose,
                offset=offsets[int(nearest)],
                **known,
            )

    def _units_of(self, part: list[Moment]) -> list[Moment | None]:
        """The unit's frame of each of the vehicle's."""
        own = [self.pairs.get(m.id) for m in part]
        found = [None if pair is None else self.units[pair.unit] for pair in own]
        taken = {unit.id for unit in found if unit is not None}
        times = np.array([m.time for m in part])
        order = times.argsort(kind='stable')
        ascending = times[order]
        claims: dict[int, tuple[int, Moment]] = {}
        for group in {unit.group for unit in found if unit is not None}:
            for unit in self.by_group[group]:
                if unit.id in taken:
                    continue
                right = int(np.searchsorted(ascending, unit.time))
                around = order[max(right - 1, 0) : right + 1]
                place = int(min(around, key=lambda i: abs(times[i] - unit.time)))
                apart = abs(int(times[place]) - unit.time)
                nearest = claims.get(place, (_TOLERANCE + 1, unit))
                if found[place] is None and apart < nearest[0]:
                    claims[place] = apart, unit
        return [unit or claims.get(i, (0, None))[1] for i, unit in enumerate(found)]
