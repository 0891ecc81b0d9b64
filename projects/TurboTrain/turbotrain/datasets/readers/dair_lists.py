"""The lists of DAIR-V2X-C and V2X-Seq: frames of a side, pairs of frames, and splits.

``batch_start_id`` and its like are not needed: frames that do not belong together are told apart by
their batch and by their timestamps.
"""

import re
from os.path import basename
from typing import Any, NamedTuple

from .dair_calibration import read_offset
from .errors import DataFileError, shown
from .json_file import load_json, member

__all__ = ['Moment', 'Pair', 'read_moments', 'read_pairs', 'read_splits']

_ID = re.compile('[0-9]{1,9}')
_DIGITS = re.compile('[0-9]{1,20}')
_GROUP = re.compile('[0-9A-Za-z_-]{1,32}')
_LATEST = 10**17  # microseconds since 1970; some 3,000 years


class Moment(NamedTuple):
    """One frame of one side.

    Attributes:
        id: its name, such as ``'000200'``.
        group: its sequence (V2X-Seq) or batch (DAIR-V2X-C).
        time: microseconds since 1970, of the cloud.
    """

    id: str
    group: str
    time: int

    @property
    def number(self) -> int:
        """The number that its name is."""
        return int(self.id)


class Pair(NamedTuple):
    """One frame of each side at about one time.

    Attributes:
        vehicle: the name of the vehicle's frame.
        unit: the name of the roadside unit's frame.
        offset: (2,) m, ``system_error_offset``.
    """

    vehicle: str
    unit: str
    offset: tuple[float, float]


def read_moments(path: str, backend_args: dict | None = None) -> dict[str, Moment]:
    """Read ``vehicle-side/data_info.json`` or ``infrastructure-side/data_info.json``.

    Returns:
        The frames by their names.

    Raises:
        DataFileError: the file is missing or damaged, lacks a key, or gives a frame two times.
    """
    found: dict[str, Moment] = {}
    for place, entry in enumerate(load_json(path, list, backend_args)):
        where = f'[{place}].'
        name = _frame(path, entry, 'frame_id', 'pointcloud_path', where)
        key = 'sequence_id' if 'sequence_id' in entry else 'batch_id'
        group = member(path, entry, key, where)
        if not isinstance(group, (str, int)) or not _GROUP.fullmatch(str(group)):
            raise DataFileError(path, f"key '{where}{key}': expected a name, got {shown(group)}")
        time = _time(path, entry, 'pointcloud_timestamp', where)
        if found.setdefault(name, Moment(name, str(group), time)).time != time:
            raise DataFileError(path, f'frame {name} is there twice, at two times')
    return found


def read_pairs(path: str, backend_args: dict | None = None) -> list[Pair]:
    """Read ``cooperative/data_info.json``.

    Raises:
        DataFileError: the file is missing or damaged, or lacks a key.
    """
    found = []
    for place, entry in enumerate(load_json(path, list, backend_args)):
        where = f'[{place}].'
        sides = [
            _frame(path, entry, f'{side}_frame', f'{side}_pointcloud_path', where)
            for side in ('vehicle', 'infrastructure')
        ]
        offset = member(path, entry, 'system_error_offset', where)
        found.append(Pair(*sides, read_offset(path, f'{where}system_error_offset', offset)))
    return found


def read_splits(path: str, backend_args: dict | None = None) -> dict[str, frozenset[str]]:
    """Read ``cooperative-split-data*.json``.

    Returns:
        The names of the vehicle's frames of each split's pairs; splits without any are left out.

    Raises:
        DataFileError: the file is missing or damaged, or lacks ``cooperative_split``.
    """
    content = load_json(path, dict, backend_args)
    splits = member(path, content, 'cooperative_split')
    if not isinstance(splits, dict):
        raise DataFileError(
            path, f"key 'cooperative_split': expected a mapping, got {shown(splits)}"
        )
    found = {}
    for name in ('train', 'val', 'test'):
        ids = splits.get(name, [])
        if not isinstance(ids, list):
            raise DataFileError(
                path, f"key 'cooperative_split.{name}': expected a list, got {shown(ids)}"
            )
        where = f'cooperative_split.{name}'
        found[name] = frozenset(_id(path, f'{where}[{i}]', value) for i, value in enumerate(ids))
    return {name: ids for name, ids in found.items() if ids}


def _frame(path: str, entry: Any, key: str, cloud: str, where: str) -> str:
    """A frame's name: V2X-Seq gives it, in DAIR-V2X-C it is that of the cloud."""
    if isinstance(entry, dict) and key in entry:
        return _id(path, where + key, entry[key])
    value = member(path, entry, cloud, where)
    stem = basename(value).removesuffix('.pcd') if isinstance(value, str) else value
    return _id(path, where + cloud, stem)


def _time(path: str, entry: Any, key: str, where: str) -> int:
    value = member(path, entry, key, where)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LATEST:
        raise DataFileError(path, f"key '{where}{key}': expected microseconds, got {shown(value)}")
    return int(value)


def _id(path: str, key: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
        return f'{value:06d}'
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise DataFileError(
            path, f"key '{key}': expected the number of a frame, as '000200', got {shown(value)}"
        )
    return value
