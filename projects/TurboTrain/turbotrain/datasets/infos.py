"""Info files: everything a split's annotations say, as a few flat arrays in one ``.npz``.

An annotation YAML is parsed once, when the info file is made. Flat arrays hold no Python objects:
they load without unpickling anything, and the workers of a process share them, since reading does
not touch them as it would touch the reference counts of objects.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from ..structures import pose_to_matrix
from .readers import DataFileError, list_scenarios, read_annotation, scan_scenario

__all__ = ['INFO_VERSION', 'Infos', 'build_infos', 'load_infos', 'save_infos']

INFO_VERSION = 1
_FORMAT = 'turbotrain-infos'


@dataclass(frozen=True, eq=False)
class Infos:
    """One split: S scenarios, A clouds with their annotation ("rows"), O object observations.

    Attributes:
        scenarios: (S,) names of the scenario folders, sorted.
        class_names: (C,) raw class names.
        scenario: (A,) int32 index into ``scenarios``. Rows are sorted by scenario, agent, frame.
        agent: (A,) int32 agent id; negative ids are infrastructure.
        frame: (A,) int32 number of the 10 Hz frame.
        world_from_agent: (A, 4, 4) float64 LiDAR pose.
        cloud: (A,) path of the cloud relative to the data root; empty where there is none.
        object_begin: (A + 1,) int64; row a observed objects ``object_begin[a]:object_begin[a+1]``.
        object_id: (O,) int64, shared by the agents and frames of a scenario.
        object_class: (O,) int16 index into ``class_names``.
        object_centre: (O, 3) float64 box centre, world frame, metres.
        object_angle: (O, 3) float32 ``[roll, yaw, pitch]``, world frame, degrees.
        object_extent: (O, 3) float32 half length, width and height, metres.
    """

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

    def rows(self, scenario: int, agents: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """The row of each (agent, frame) of a scenario.

        Args:
            scenario: index of the scenario.
            agents: (N,) agent ids.
            frames: (T,) frame numbers.

        Returns:
            (N, T) int64; -1 where the agent has no such frame.
        """
        keys, encode = self._row_keys
        wanted = encode(scenario, np.asarray(agents)[:, None], np.asarray(frames)[None, :])
        return _find(keys, wanted)

    def track(self, scenario: int, ids: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, ...]:
        """Where objects were, or will be, by whichever agent's label says so.

        Args:
            scenario: index of the scenario.
            ids: (M,) object ids.
            frames: (F,) frame numbers.

        Returns:
            positions: (M, F, 3) float64, world frame, metres; 0 where unknown.
            known: (M, F) bool.
        """
        keys, observation, ranks, last_frame = self._tracks
        rank = _find(ranks, np.asarray(ids))[:, None]
        frames = np.asarray(frames)[None, :]
        key = ((scenario * len(ranks)) + rank) * (last_frame + 1) + frames
        found = _find(keys, key)
        known = (found >= 0) & (rank >= 0) & (frames >= 0) & (frames <= last_frame)
        positions = (
            self.object_centre[observation[found]]
            if len(observation)
            else np.zeros((*found.shape, 3))
        )
        return np.where(known[..., None], positions, 0.0), known

    @cached_property
    def _row_keys(self) -> tuple[np.ndarray, Callable[..., np.ndarray]]:
        first, last = int(self.agent.min()), int(self.agent.max())
        frames = int(self.frame.max()) + 1

        def encode(scenario: np.ndarray, agent: np.ndarray, frame: np.ndarray) -> np.ndarray:
            key = (np.int64(scenario) * (last - first + 1) + (agent - first)) * frames + frame
            known = (agent >= first) & (agent <= last) & (frame >= 0) & (frame < frames)
            return np.where(known, key, -1)

        scenario = self.scenario.astype(np.int64)
        return (scenario * (last - first + 1) + (self.agent - first)) * frames + self.frame, encode

    @cached_property
    def _tracks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Sorted unique (scenario, object, frame) keys, and the observation each stands for."""
        ranks, rank = np.unique(self.object_id, return_inverse=True)
        row = np.repeat(np.arange(len(self.agent)), np.diff(self.object_begin))
        last_frame = int(self.frame.max())
        key = self.scenario[row].astype(np.int64) * len(ranks) + rank
        key = key * (last_frame + 1) + self.frame[row]
        # Of several agents' labels vehicles' come first, in the order of their ids.
        agent = self.agent[row]
        order = np.lexsort((np.abs(agent), agent < 0, key))
        keys, first = np.unique(key[order], return_index=True)
        return keys, order[first], ranks, last_frame


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Position of each wanted value in sorted keys, -1 where it is not among them."""
    if not len(keys):
        return np.full(np.shape(wanted), -1)
    position = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[position] == wanted, position, -1)


def build_infos(
    data_root: str,
    split: str,
    workers: int = 1,
    progress: Callable[..., object] | None = None,
) -> Infos:
    """Read all annotations of a split.

    Args:
        data_root: folder that holds the split's folder.
        split: name of the split's folder.
        workers: processes to read with.
        progress: wraps the iterator over scenarios, e.g. ``tqdm``; called with ``total``.

    Raises:
        DataFileError: a folder or an annotation is not as the format says.
    """
    names = list_scenarios(os.path.join(data_root, split))
    read = partial(_read_scenario, data_root, split)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            parts = _consume(pool.map(read, names), len(names), progress)
    else:
        parts = _consume(map(read, names), len(names), progress)

    columns = {key: [part[key] for part in parts] for key in parts[0]}
    scenario = np.repeat(np.arange(len(names), dtype=np.int32), [len(a) for a in columns['agent']])
    types = columns.pop('type')
    class_names, object_class = np.unique(np.concatenate(types), return_inverse=True)
    counts = np.concatenate(columns.pop('count'))
    return Infos(
        scenarios=np.array(names),
        class_names=class_names,
        scenario=scenario,
        object_begin=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        object_class=object_class.astype(np.int16),
        **{key: np.concatenate(column) for key, column in columns.items()},
    )


def _consume(parts: object, total: int, progress: Callable[..., object] | None) -> list[dict]:
    return list(parts if progress is None else progress(parts, total=total))


def _read_scenario(data_root: str, split: str, name: str) -> dict[str, np.ndarray]:
    found = scan_scenario(os.path.join(data_root, split, name))
    annotations = [read_annotation(row.annotation) for row in found]
    clouds = [os.path.relpath(row.cloud, data_root) if row.cloud else '' for row in found]
    return dict(
        agent=np.array([row.agent for row in found], dtype=np.int32),
        frame=np.array([row.frame for row in found], dtype=np.int32),
        world_from_agent=pose_to_matrix(np.stack([a.lidar_pose for a in annotations])),
        cloud=np.array(clouds),
        count=np.array([len(a.ids) for a in annotations]),
        type=np.array([name for a in annotations for name in a.types], dtype=np.str_),
        object_id=np.concatenate([a.ids for a in annotations]),
        object_centre=np.concatenate([a.centres for a in annotations]),
        object_angle=np.concatenate([a.angles for a in annotations]).astype(np.float32),
        object_extent=np.concatenate([a.extents for a in annotations]).astype(np.float32),
    )


def save_infos(path: str, infos: Infos) -> None:
    """Write an info file; a file of that name is replaced only once the new one is whole."""
    header = json.dumps(dict(format=_FORMAT, version=INFO_VERSION))
    arrays = {f.name: getattr(infos, f.name) for f in fields(Infos)}
    temporary = Path(f'{path}.partial')
    with temporary.open('wb') as file:
        np.savez(file, header=np.array(header), **arrays)
    temporary.replace(path)


def load_infos(path: str) -> Infos:
    """Read an info file.

    Raises:
        DataFileError: the file is missing, damaged, of another format or of another version.
    """
    remedy = (
        f"make it anew with 'python tools/create_data.py v2xpnp --root-path {Path(path).parent}'"
    )
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file['header']))
            if header.get('format') != _FORMAT:
                raise DataFileError(path, f"key 'header': not a {_FORMAT} file; {remedy}")
            if header.get('version') != INFO_VERSION:
                found = header.get('version')
                raise DataFileError(
                    path, f"key 'version': expected {INFO_VERSION}, got {found!r}; {remedy}"
                )
            return Infos(**{f.name: file[f.name] for f in fields(Infos)})
    except FileNotFoundError:
        raise DataFileError(path, f'is missing; {remedy}') from None
    except DataFileError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise DataFileError(path, f'cannot be read ({error}); {remedy}') from error
