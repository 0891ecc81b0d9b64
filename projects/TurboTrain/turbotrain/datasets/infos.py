"""What the annotations of a split say, as a few flat arrays.

They hold no Python objects: they load without unpickling anything, and the workers of a process
share them, since reading does not touch them as it would touch the reference counts of objects.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .readers import Dialect, resolve_dialect

__all__ = ['Infos']


class _Tracks(NamedTuple):
    """Every (scenario, object, frame) once, by sorted keys, with a run of observations each.

    Within a run vehicles come first, in the order of their ids; ``agent`` is the rank of an
    observation's agent among all ids.
    """

    keys: np.ndarray
    begin: np.ndarray
    length: np.ndarray
    observation: np.ndarray
    agent: np.ndarray
    ranks: np.ndarray
    frames: int


@dataclass(frozen=True, eq=False)
class Infos:
    """One split: S scenarios, A annotated moments of an agent ("rows"), O object observations.

    All frames are right-handed with z up, whatever the dataset has on disk.

    Attributes:
        dataset: () name of the dataset, a key of ``DIALECTS``.
        scenarios: (S,) names of the scenario folders, sorted.
        class_names: (C,) raw class names.
        scenario: (A,) int32 index into ``scenarios``. Rows are sorted by scenario, agent, frame.
        agent: (A,) int32 agent id; negative ids are infrastructure.
        frame: (A,) int32 number of the frame, ``dialect.frame_rate`` to a second.
        world_from_agent: (A, 4, 4) float64 LiDAR pose.
        cloud: (A,) path of the cloud relative to the data root; empty where there is none.
        object_begin: (A + 1,) int64; row a observed objects ``object_begin[a]:object_begin[a+1]``.
        object_id: (O,) int64, shared by the agents and frames of a scenario.
        object_class: (O,) int16 index into ``class_names``.
        object_centre: (O, 3) float64 box centre, world frame, metres.
        object_angle: (O, 3) float32 ``[roll, yaw, pitch]``, world frame, degrees.
        object_extent: (O, 3) float32 half length, width and height, metres.
        lag: (A,) float32 s, by how much a row's cloud is older than ``frame`` says; not 0 where two
            sides record at different times.
        labelled: (A,) bool, whether what was round the agent then was labelled; other rows are
            there for their clouds.
        labels: () which labels these are, of a dataset that has several kinds.
    """

    dataset: np.ndarray
    scenarios: np.ndarray
    class_names: np.ndarray
    scenario: np.ndarray
    agent: np.ndarray
    frame: np.ndarray
    world_from_agent: np.ndarray
    cloud: np.ndarray
    object_begin: np.ndarray
    object_id: np.ndarray
    object_class: np.ndarray
    object_centre: np.ndarray
    object_angle: np.ndarray
    object_extent: np.ndarray
    lag: np.ndarray
    labelled: np.ndarray
    labels: np.ndarray

    @property
    def dialect(self) -> Dialect:
        """How the dataset's files are written."""
        return resolve_dialect(str(self.dataset))

    def index(self) -> None:
        """Make the look-up tables now, so that processes forked from this one share them."""
        _ = self.speeds, self.agents, self._row_keys, self._tracks

    @cached_property
    def agents(self) -> list[np.ndarray]:
        """For each scenario the ids of its agents, ascending."""
        bounds = np.searchsorted(self.scenario, np.arange(len(self.scenarios) + 1))
        return [np.unique(self.agent[begin:end]) for begin, end in pairwise(bounds)]

    @cached_property
    def speeds(self) -> np.ndarray:
        """(A,) float32 speed of each agent, m/s, from its previous pose to this one.

        Recordings' own ``ego_speed`` is always 0. The first moment of an agent has the speed of its
        second; an agent seen once stands still. So does a roadside unit, whatever corrections of
        its pose say.
        """
        moved = np.linalg.norm(np.diff(self.world_from_agent[:, :3, 3], axis=0), axis=1)
        seconds = np.diff(self.frame) / self.dialect.frame_rate
        same = (np.diff(self.scenario) == 0) & (np.diff(self.agent) == 0)
        step = np.where(same, moved / np.where(same, seconds, 1.0), np.nan)
        arriving, leaving = np.concatenate([[np.nan], step]), np.concatenate([step, [np.nan]])
        speeds = np.where(np.isnan(arriving), leaving, arriving)
        return np.where(self.agent < 0, 0.0, np.nan_to_num(speeds, nan=0.0)).astype(np.float32)

    def frames_in(self, seconds: float) -> int:
        """How many frame numbers a time is.

        Args:
            seconds: the time, above 0.

        Raises:
            ValueError: no frames are that far apart: it is no whole number of frame numbers, or no
                agent has two such frames although one was recorded for so long. Its text goes
                behind the time.
        """
        rate = self.dialect.frame_rate
        frames = round(seconds * rate)
        keys, _, num_frames = self._row_keys
        steps = np.diff(keys)[np.diff(keys // num_frames) == 0]  # of one agent in one scenario
        if frames >= 1 and abs(frames - seconds * rate) < 1e-6:
            # Beyond the last frame a key would be the next agent's.
            later = keys[self.frame < num_frames - frames] + frames if frames < num_frames else []
            if not len(steps) or (_find(keys, np.asarray(later)) >= 0).any():
                return frames
            # A recording may be shorter than a step: its past is empty and its future unknown.
            if frames > self._longest and frames % np.gcd.reduce(steps) == 0:
                return frames
        if not len(steps):
            raise ValueError(
                f'asked for, but frame numbers count {1 / rate:g} s; choose a multiple of that'
            )
        usual = int(np.median(steps))
        raise ValueError(
            f'asked for, but no agent has frames that far apart: it is recorded every '
            f'{usual / rate:g} s ({usual} frame numbers of {1 / rate:g} s); choose a multiple of '
            'that'
        )

    @property
    def _longest(self) -> int:
        """Frame numbers from the first to the last of the agent that was recorded longest."""
        keys, _, num_frames = self._row_keys
        begin = np.flatnonzero(np.diff(keys // num_frames, prepend=-1))
        end = np.append(begin[1:], len(keys)) - 1
        return int((keys[end] - keys[begin]).max())

    def rows(
        self, scenario: int, agents: np.ndarray, frames: np.ndarray, within: int | np.ndarray = 1
    ) -> np.ndarray:
        """The row of each (agent, frame) of a scenario.

        Args:
            scenario: index of the scenario.
            agents: (N,) agent ids.
            frames: (T,) or (N, T) frame numbers.
            within: take the newest row that is less than this many frames older, for all or (N, 1);
                1 wants the very frame.

        Returns:
            (N, T) int64; -1 where the agent has no such frame.
        """
        keys, ranks, num_frames = self._row_keys
        agents, frames = np.asarray(agents), np.atleast_2d(frames)
        rank = _find(ranks, agents)[:, None]
        base = (np.int64(scenario) * len(ranks) + rank) * num_frames
        # Beyond the last frame a key would be the next agent's.
        latest = np.minimum(frames, num_frames - 1)
        row = np.searchsorted(keys, base + latest, side='right') - 1
        oldest = base + np.maximum(frames - (within - 1), 0)
        found = (rank >= 0) & (frames >= 0) & (row >= 0) & (keys[row] >= oldest)
        return np.where(found, row, -1)

    def observations(
        self, scenario: int, ids: np.ndarray, frames: np.ndarray, agents: np.ndarray
    ) -> np.ndarray:
        """Which label says where an object was, or will be.

        Args:
            scenario: index of the scenario.
            ids: (M,) object ids.
            frames: (F,) frame numbers.
            agents: (N,) agent ids; the first one's label counts, and so on. Labels of other agents
                count after all of these, vehicles' first, in the order of their ids.

        Returns:
            (M, F) int64 index into the ``object_`` columns; -1 where no agent labelled the object.
        """
        tracks = self._tracks
        rank = _find(tracks.ranks, np.asarray(ids))[:, None]
        frames = np.asarray(frames)[None, :]
        key = (np.int64(scenario) * len(tracks.ranks) + rank) * tracks.frames + frames
        found = _find(tracks.keys, key)
        known = (found >= 0) & (rank >= 0) & (frames >= 0) & (frames < tracks.frames)
        if not len(tracks.observation):
            return np.full(known.shape, -1)
        place = np.arange(tracks.length.max())
        run = (tracks.begin[found, None] + place).clip(max=len(tracks.agent) - 1)
        agent_ranks = self._row_keys[1]
        preferred = _find(agent_ranks, np.asarray(agents))
        preference_of = np.full(len(agent_ranks), len(agents))
        preference_of[preferred[preferred >= 0]] = np.flatnonzero(preferred >= 0)
        preference = preference_of[tracks.agent[run]]
        preference[place >= tracks.length[found, None]] = len(agents) + 1
        best = np.take_along_axis(run, preference.argmin(axis=-1)[..., None], axis=-1)[..., 0]
        return np.where(known, tracks.observation[best], -1)

    def track(
        self, scenario: int, ids: np.ndarray, frames: np.ndarray, agents: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where objects were, or will be.

        Args:
            scenario: index of the scenario.
            ids: (M,) object ids.
            frames: (F,) frame numbers.
            agents: (N,) whose labels count first, see :meth:`observations`.

        Returns:
            positions: (M, F, 3) float64, world frame, metres; 0 where unknown.
            known: (M, F) bool.
        """
        observation = self.observations(scenario, ids, frames, agents)
        positions = np.zeros((*observation.shape, 3))
        known = observation >= 0
        positions[known] = self.object_centre[observation[known]]
        return positions, known

    @cached_property
    def _row_keys(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Sorted keys of all rows, the agents' ids by rank, and the number of frame numbers."""
        ranks, rank = np.unique(self.agent, return_inverse=True)
        num_frames = int(self.frame.max()) + 1
        keys = (self.scenario.astype(np.int64) * len(ranks) + rank) * num_frames + self.frame
        return keys, ranks, num_frames

    @cached_property
    def _tracks(self) -> _Tracks:
        ranks, rank = np.unique(self.object_id, return_inverse=True)
        row = np.repeat(np.arange(len(self.agent)), np.diff(self.object_begin))
        num_frames = int(self.frame.max()) + 1
        key = self.scenario[row].astype(np.int64) * len(ranks) + rank
        key = key * num_frames + self.frame[row]
        agent = self.agent[row]
        order = np.lexsort((np.abs(agent), agent < 0, key))
        keys, begin, length = np.unique(key[order], return_index=True, return_counts=True)
        agent_rank = np.searchsorted(self._row_keys[1], agent[order]).astype(np.int32)
        return _Tracks(keys, begin, length, order, agent_rank, ranks, num_frames)


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Position of each wanted value in sorted keys, -1 where it is not among them."""
    if not len(keys):
        return np.full(np.shape(wanted), -1)
    position = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[position] == wanted, position, -1)
