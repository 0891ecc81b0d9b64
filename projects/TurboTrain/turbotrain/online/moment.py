"""What a model is asked about: the clouds of some agents up to one moment."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.readers import CLOUD_SUFFIXES
from ..errors import SettingError
from ..structures import INFRASTRUCTURE, VEHICLE, as_pose

__all__ = ['KINDS', 'AgentClouds', 'Moment', 'checked_cloud', 'checked_pose', 'rows_of']

KINDS = dict(vehicle=VEHICLE, infrastructure=INFRASTRUCTURE)
_MAX_ID = 10**9

Cloud = np.ndarray | str | Path | None


@dataclass(frozen=True)
class AgentClouds:
    """What one agent has seen, oldest first.

    Attributes:
        clouds: each a ``.bin`` or ``.pcd`` file or an array (P, 4) of x, y, z (m) and intensity, or
            (P, 3) without, in the frame of the agent's LiDAR, right-handed, z up. None is for a
            cloud that was lost; its pose counts.
        poses: as many, of the LiDAR in a right-handed world with z up that all agents share: a
            rigid (4, 4) ``world_from_agent`` or six numbers ``[x, y, z, roll, yaw, pitch]`` in
            metres and degrees (see ``structures/poses.py``).
        times: as many, rising, in seconds of a clock that all agents share.
        kind: ``vehicle`` or ``infrastructure``.
        id: a number from 1 up that no other agent of this kind has.
    """

    clouds: Sequence[Cloud]
    poses: Sequence[np.ndarray | Sequence[float]]
    times: Sequence[float] = (0.0,)
    kind: str = 'vehicle'
    id: int = 1

    @property
    def number(self) -> int:
        """The id as datasets have it: below 0 for infrastructure."""
        return -self.id if self.kind == 'infrastructure' else self.id

    @property
    def name(self) -> str:
        """How errors call the agent."""
        return f'{self.kind} {self.id}'

    def checked(self) -> 'AgentClouds':
        """The same with poses as matrices and times as float64.

        Raises:
            SettingError: says of which agent what is not as it must be.
        """
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise SettingError(f'kind: expected one of {[*KINDS]}, got {self.kind!r:.60}')
        if not isinstance(self.id, int | np.integer) or not 1 <= self.id < _MAX_ID:
            raise SettingError(
                f'{self.kind}: id: expected a number from 1 to {_MAX_ID - 1}, got {self.id!r:.60}'
            )
        counts = dict(clouds=len(self.clouds), poses=len(self.poses), times=len(self.times))
        if len(set(counts.values())) > 1 or not counts['clouds']:
            raise SettingError(
                f'{self.name}: expected clouds and as many poses and times, got {counts}'
            )
        try:
            times = np.array(self.times, dtype=np.float64)
        except (TypeError, ValueError):
            times = np.array([np.nan])
        if not np.isfinite(times).all() or times.ndim != 1 or (np.diff(times) <= 0).any():
            raise SettingError(
                f'{self.name}: times: expected finite seconds, rising, got {[*self.times]!r:.80}'
            )
        for i, cloud in enumerate(self.clouds):
            checked_cloud(f'{self.name}: clouds[{i}]', cloud)
        poses = [checked_pose(f'{self.name}: poses[{i}]', p) for i, p in enumerate(self.poses)]
        return AgentClouds(self.clouds, poses, times, self.kind, int(self.id))


@dataclass(frozen=True)
class Moment:
    """Agents at one time, which is that of the ego's newest cloud.

    Of the ego, clouds of now and of the steps before are looked at. Others' newest cloud may be
    older, and their steps count from there.

    Attributes:
        agents: the ego first. As in training, those are heard that the config's mode has and that
            are within its range of communication.
        map_path: file of the vector map, as V2XPnP-Seq has it; without one, models drive on
            straight where they would follow lanes.
        scenario: name of the recording, for predictions and pictures.
        frame: number of the moment in it; the place in the list of inputs by default.
    """

    agents: Sequence[AgentClouds]
    map_path: str = ''
    scenario: str = 'online'
    frame: int | None = None

    def checked(self) -> list[AgentClouds]:
        """The agents with poses as matrices and times as float64.

        Raises:
            SettingError: there is none, two are the same one, or one is not as it must be.
        """
        if not len(self.agents) or not all(isinstance(a, AgentClouds) for a in self.agents):
            raise SettingError(
                'Moment.agents: expected one AgentClouds or more, the ego first, got '
                f'{[type(agent).__name__ for agent in self.agents]}'
            )
        agents = [agent.checked() for agent in self.agents]
        names = [agent.name for agent in agents]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SettingError(f'Moment.agents: {twice[0]} stands twice; give each an id')
        return agents


def checked_pose(name: str, pose: np.ndarray | Sequence[float]) -> np.ndarray:
    """A pose as a matrix (4, 4).

    Raises:
        SettingError: it is neither six finite numbers nor a rigid matrix; calls it by its name.
    """
    try:
        matrix = as_pose(np.array(pose, dtype=np.float64))
    except (TypeError, ValueError):
        matrix = None
    if matrix is None:
        said = ' '.join(repr(pose).split())
        raise SettingError(
            f'{name}: expected six finite numbers [x, y, z, roll, yaw, pitch] in metres and '
            f'degrees or a rigid 4x4 matrix, got {said:.80}'
        )
    return matrix


def checked_cloud(name: str, cloud: Cloud) -> None:
    """Look at a cloud before anything is read.

    Raises:
        SettingError: it is no array of points, or no file of a kind that can be read.
    """
    if cloud is None:
        return
    if isinstance(cloud, str | Path):
        if os.path.splitext(cloud)[1] not in CLOUD_SUFFIXES:
            raise SettingError(f'{name}: expected a file {CLOUD_SUFFIXES}, got {str(cloud)!r}')
        if not os.path.isfile(cloud):
            raise SettingError(f'{name}: there is no file {str(cloud)!r}')
        return
    fits = isinstance(cloud, np.ndarray) and cloud.ndim == 2 and cloud.shape[1] in (3, 4)
    if not fits or cloud.dtype.kind not in 'fiu':
        found = f'{cloud.dtype} {cloud.shape}' if isinstance(cloud, np.ndarray) else type(cloud)
        raise SettingError(
            f'{name}: expected an array (P, 4) of x, y, z, intensity, or (P, 3), got {found}'
        )


def rows_of(cloud: np.ndarray) -> np.ndarray:
    """A copy of an array (P, 4) or (P, 3) of numbers as compiled code takes it.

    Returns:
        (P, 4) float32, row after row in memory; intensity is 0 where there was none.
    """
    points = np.zeros((len(cloud), 4), dtype=np.float32)
    points[:, : cloud.shape[1]] = cloud
    return points
