"""Runs the programs of the package ``eclipse-sumo``: netconvert (roads) and sumo (traffic)."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError

__all__ = ['SumoError', 'run_sumo_program', 'sumo_home']


class SumoError(UserError, RuntimeError):
    """SUMO is missing, or one of its programs failed."""


def sumo_home() -> Path:
    """Folder of the installed package ``eclipse-sumo``; programs on the PATH are never used.

    Raises:
        SumoError: if the package is not installed.
    """
    try:
        import sumo
    except ImportError as error:
        raise SumoError(
            'the simulator drives SUMO, which is not installed: pip install eclipse-sumo'
        ) from error
    return Path(sumo.SUMO_HOME)


def run_sumo_program(name: str, options: Mapping[str, str | float | Path]) -> None:
    """Run one program of SUMO and wait for it.

    Args:
        name: ``'netconvert'`` or ``'sumo'``.
        options: the program's long options and their values.

    Raises:
        SumoError: with the end of what the program said, if it fails.
    """
    home = sumo_home()
    program = home / 'bin' / (f'{name}.exe' if os.name == 'nt' else name)
    if not program.is_file():
        raise SumoError(f'{program}: not found; reinstall the package eclipse-sumo')
    arguments = [item for key, value in options.items() for item in (f'--{key}', _text(value))]
    done = subprocess.run(
        [str(program), *arguments],
        env={**os.environ, 'SUMO_HOME': str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout)[-1500:]
        raise SumoError(f'{name} ended with code {done.returncode}: {said}')


def _text(value: str | float | Path) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
