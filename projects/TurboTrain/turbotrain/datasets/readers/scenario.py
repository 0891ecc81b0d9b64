"""The folders of one scenario: agents and the frames each of them recorded."""

import os
from dataclasses import dataclass

from .errors import DataFileError

__all__ = ['AgentFrame', 'list_scenarios', 'scan_scenario']

CLOUD_SUFFIX = '.bin'
_NOT_ANNOTATIONS = ('additional', 'camera_gt')


@dataclass(frozen=True)
class AgentFrame:
    """One agent at one time.

    Attributes:
        agent: its id; negative ids are infrastructure.
        frame: the number of the 10 Hz frame, as in the file's name.
        annotation: path of the YAML.
        cloud: path of the point cloud, or ``''`` when there is none.
    """

    agent: int
    frame: int
    annotation: str
    cloud: str


def list_scenarios(split_dir: str) -> list[str]:
    """Names of a split's scenario folders, sorted.

    Raises:
        DataFileError: the folder is missing or holds no scenario.
    """
    if not os.path.isdir(split_dir):
        raise DataFileError(split_dir, 'is not a folder; expected one folder per scenario in it')
    names = sorted(e.name for e in os.scandir(split_dir) if e.is_dir() and e.name[0] != '.')
    if not names:
        raise DataFileError(split_dir, 'has no scenario folders')
    return names


def scan_scenario(scenario_dir: str) -> list[AgentFrame]:
    """List what every agent recorded, sorted by agent id and frame.

    Raises:
        DataFileError: there is no agent, or an annotation's name is not a frame number.
    """
    found = []
    for folder in os.scandir(scenario_dir):
        if not folder.is_dir() or not folder.name.lstrip('-').isdecimal():
            continue
        names = {entry.name for entry in os.scandir(folder.path)}
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix != '.yaml' or any(word in stem for word in _NOT_ANNOTATIONS):
                continue
            path = os.path.join(folder.path, name)
            if not stem.isdecimal():
                raise DataFileError(
                    path, "expected a frame number as its name, as in '000012.yaml'"
                )
            cloud = stem + CLOUD_SUFFIX
            found.append(
                AgentFrame(
                    agent=int(folder.name),
                    frame=int(stem),
                    annotation=path,
                    cloud=os.path.join(folder.path, cloud) if cloud in names else '',
                )
            )
    if not found:
        raise DataFileError(
            scenario_dir, "has no agent folder ('1', '2', '-1', ...) with annotations"
        )
    return sorted(found, key=lambda row: (row.agent, row.frame))
