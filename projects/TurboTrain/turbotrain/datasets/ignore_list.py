"""Lists of what to leave out of a dataset, as ``tools/check_dataset.py --fix-list`` writes them."""

import json
import re
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path

from ..whole_file import write_whole
from .readers import DataFileError, said, shown

__all__ = ['IgnoreList', 'load_ignore_list', 'save_ignore_list']

_FORMAT = 'turbotrain-ignore-list'
_VERSION = 1
_OBJECT = re.compile(r'(.*?/[0-9]+\.(?:yaml|json))#(.*)', re.DOTALL)  # a key may be any text


@dataclass(frozen=True)
class IgnoreList:
    """Paths relative to the data root, with ``/`` between their parts.

    Attributes:
        scenarios: whole scenario folders, e.g. ``train/2023-03-17-16-12-12_3_0``.
        annotations: YAML or JSON files; the agent is not there at that time.
        clouds: point clouds; the agent is there without a cloud.
        objects: labels of one agent at one time, e.g.
            ``train/2023-03-17-16-12-12_3_0/1/000010.yaml#7`` for key ``vehicles.7``, or
            ``cooperative/label/000200.json#3`` for the fourth of a list.
    """

    scenarios: frozenset[str] = frozenset()
    annotations: frozenset[str] = frozenset()
    clouds: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()

    def keys_by_annotation(self) -> defaultdict[str, set[str]]:
        """The keys of objects to leave out of each annotation."""
        found = defaultdict(set)
        for item in self.objects:
            if match := _OBJECT.fullmatch(item):
                found[match[1]].add(match[2])
        return found

    def union(self, other: 'IgnoreList') -> 'IgnoreList':
        """What either list leaves out."""
        return IgnoreList(**{k: v | getattr(other, k) for k, v in vars(self).items()})


def save_ignore_list(path: str, ignore: IgnoreList) -> None:
    """Write a list, as JSON that people can read and change."""
    content = dict(format=_FORMAT, version=_VERSION)
    content |= {f.name: sorted(getattr(ignore, f.name)) for f in fields(IgnoreList)}
    write_whole(path, json.dumps(content, indent=2) + '\n')


def load_ignore_list(path: str) -> IgnoreList:
    """Read a list.

    Raises:
        DataFileError: the file is missing, is no such list or of another version.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise DataFileError(path, f'cannot be read ({error.strerror})') from error
    except (ValueError, RecursionError) as error:
        raise DataFileError(path, f'is not valid JSON ({said(error)})') from error
    if not isinstance(content, dict) or content.get('format') != _FORMAT:
        raise DataFileError(path, f"key 'format': expected {_FORMAT!r}")
    if content.get('version') != _VERSION:
        found = content.get('version')
        raise DataFileError(path, f"key 'version': expected {_VERSION}, got {shown(found)}")
    lists = {}
    for f in fields(IgnoreList):
        value = content.get(f.name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise DataFileError(path, f'key {f.name!r}: expected a list of paths')
        lists[f.name] = frozenset(value)
    return IgnoreList(**lists)
