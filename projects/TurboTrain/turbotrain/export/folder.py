"""The folder that an export fills, and what tells whose it is."""

import json
from collections.abc import Mapping
from pathlib import Path

from ..datasets.readers.json_file import load_json
from ..errors import UserError
from ..whole_file import write_whole

__all__ = ['begin_export']

_SETTINGS = 'export.json'


def begin_export(out: Path, settings: Mapping[str, object]) -> None:
    """Make the folder, or go on in the one that an export of the same settings left.

    The settings are written before anything else: whole files of the same settings are what this
    export would write, and need not be written again.

    Args:
        out: the folder.
        settings: all that the content of the files depends on, as JSON has it.

    Raises:
        DataFileError: the folder's settings are damaged.
        UserError: it holds something else, or another process writes it.
    """
    path = out / _SETTINGS
    if path.exists():
        found = load_json(str(path), dict)
        other = [key for key in {**found, **settings} if found.get(key) != settings.get(key)]
        if other:
            raise UserError(
                f'{path}: key {other[0]!r}: expected {settings.get(other[0])!r:.200}, as this '
                f'export has it, got {found.get(other[0])!r:.200}; name another folder by --out'
            )
        return
    if out.exists() and any(item.name != f'{_SETTINGS}.partial' for item in out.iterdir()):
        raise UserError(f'{out}: is not empty and holds no export; name another folder by --out')
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(settings, indent=1) + '\n')
