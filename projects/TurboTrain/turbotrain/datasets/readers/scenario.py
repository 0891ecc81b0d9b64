"""The folders of one scenario: agents and the frames each of them recorded."""

import os
import re
from dataclasses import dataclass
from itertools import pairwise

from .errors import DataFileError
from .files import list_folder
from .point_cloud import CLOUD_SUFFIXES

__all__ = ['AGENT', 'AgentFrame', 'list_scenarios', 'scan_scenario']

_NOT_ANNOTATIONS = ('additional', 'camera_gt')
AGENT = re.compile(r'-?[0-9]{1,9}')  # the name of an agent's folder
_FRAME = re.compile(r'[0-9]{1,9}')
_ANNOTATION = re.compile(r'[0-9]+\.yaml')


@dataclass(frozen=True)
class AgentFrame:
    """One agent at one time.

    Attributes:
        agent: its id; negative ids are infrastructure.
        frame: the number of the frame, as in the file's name.
        annotation: path of the YAML.
        cloud: path of the point cloud, or ``''`` when there is none.
        lag: seconds by which the cloud is older than the number of the frame says.
        labelled: whether what was round the agent at that time was labelled.
    """

    agent: int
    frame: int
    annotation: str
    cloud: str
    lag: float = 0.0
    labelled: bool = True

    @property
    def sources(self) -> tuple[str, ...]:
        """The files that its annotation is read from."""
        return (self.annotation,)


def list_scenarios(split_dir: str, backend_args: dict | None = None) -> list[str]:
    """Names of a split's scenario folders, sorted.

    Raises:
        DataFileError: the folder is missing or holds no scenario.
    """
    names = list_folder(split_dir, backend_args).folders
    if not names:
        raise DataFileError(split_dir, 'has no scenario folders')
    return names


def scan_scenario(scenario_dir: str, backend_args: dict | None = None) -> list[AgentFrame]:
    """List what every agent recorded, sorted by agent id and frame.

    Raises:
        DataFileError: there is no agent, two folders are the same agent, a folder of annotations
            has another name than an agent's, an annotation's name is not a frame number, or the
            path cannot be written into an info file.
    """
    _check_path(scenario_dir)
    found = []
    folders: dict[int, str] = {}
    for agent in list_folder(scenario_dir, backend_args).folders:
        folder = os.path.join(scenario_dir, agent)
        names = set(list_folder(folder, backend_args).files)
        if not AGENT.fullmatch(agent):
            if any(map(_ANNOTATION.fullmatch, names)):
                raise DataFileError(
                    folder, "holds annotations; expected an agent's number as its name: '1', '-1'"
                )
            continue
        other = folders.setdefault(int(agent), agent)
        if other != agent:
            raise DataFileError(folder, f'expected one folder per agent; {other!r} is the same')
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix != '.yaml' or any(word in stem for word in _NOT_ANNOTATIONS):
                continue
            path = os.path.join(folder, name)
            if not _FRAME.fullmatch(stem):
                raise DataFileError(
                    path, "expected a frame number as its name, as in '000012.yaml'"
                )
            clouds = [stem + suffix for suffix in CLOUD_SUFFIXES if stem + suffix in names]
            found.append(
                AgentFrame(
                    agent=int(agent),
                    frame=int(stem),
                    annotation=path,
                    cloud=os.path.join(folder, clouds[0]) if clouds else '',
                )
            )
    if not found:
        raise DataFileError(
            scenario_dir, "has no agent folder ('1', '2', '-1', ...) with annotations"
        )
    found.sort(key=lambda row: (row.agent, row.frame, row.annotation))
    for one, other in pairwise(found):
        if (one.agent, one.frame) == (other.agent, other.frame):
            raise DataFileError(
                other.annotation, f'expected one annotation per frame; {one.annotation} is the same'
            )
    return found


def _check_path(path: str) -> None:
    """Refuse what info files, which hold paths as text, would refuse or read otherwise.

    Raises:
        DataFileError: the path is not in UTF-8, or backslashes in it lead elsewhere on Windows.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataFileError(path, 'expected a path in UTF-8; rename the folder') from None
    if '..' in os.path.basename(path).split('\\'):
        raise DataFileError(path, "expected a name without '..' behind a backslash; rename it")
