"""Samples without labels: of clouds in memory, and of folders in a dataset's layout.

What is looked up, and how, is ``V2XPnPDataset``'s own; so are the transforms.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..datasets import MODES, Infos, V2XPnPDataset, build_infos
from ..datasets.readers import (
    AGENT,
    LABELS,
    DataFileError,
    list_folder,
    resolve_dialect,
)
from ..datasets.readers.dialects import DairDialect
from ..errors import SettingError
from .moment import KINDS, AgentClouds, Moment, rows_of

__all__ = ['UnlabelledDataset', 'UnlabelledMoments', 'cloud_name', 'infos_of', 'open_folder']


class UnlabelledDataset(V2XPnPDataset):
    """``V2XPnPDataset`` on infos that are in memory and may have no labels.

    Samples have no ``gt_instances_3d``: nobody knows what there is.

    Args:
        infos: of the split.
        kwargs: those of ``V2XPnPDataset`` but ``ann_file``.
    """

    def __init__(self, infos: Infos | None, **kwargs: Any) -> None:
        self._given = infos
        super().__init__('', **kwargs)

    def _read_infos(self) -> Infos:
        return self._given

    def prepare_data(self, idx: int) -> dict:
        """Run the pipeline on a sample."""
        return unlabelled(self.pipeline, self.get_data_info(idx))


class UnlabelledMoments:
    """Makes samples of moments as ``V2XPnPDataset`` makes them of files.

    Times become frame numbers of the recordings that a config is for (0.1 s, or 0.05 s for OPV2V
    and V2XSet): of an agent's clouds, the one nearest to now counts as its newest, and the others
    by how much older they are. Of two with one number the one nearer to it counts.

    Args:
        settings: of ``V2XPnPDataset``, as a config has them for testing.
        dataset: whose recordings the config is for, a key of ``DIALECTS``.
        max_delay: seconds; agents whose newest cloud is older are left out.
    """

    def __init__(self, settings: Mapping, dataset: str, max_delay: float) -> None:
        if not 0 <= max_delay < 1e6:
            raise SettingError(f'max_delay: expected seconds from 0 to 1e6, got {max_delay}')
        self.name, self.max_delay = dataset, max_delay
        # Nothing is listed: moments come one by one.
        self.dataset = UnlabelledDataset(None, **{**settings, 'data_root': '', 'lazy_init': True})
        self.metainfo = self.dataset.metainfo

    def __call__(self, moment: Moment, number: int = 0) -> dict:
        """The sample of a moment, packed, without ``gt_instances_3d``.

        Args:
            moment: who is asked about.
            number: its place in the list of inputs.

        Raises:
            SettingError: the moment is not as it must be; says what.
            DataFileError: a cloud cannot be read.
        """
        results = self.results(moment)
        frame = number if moment.frame is None else moment.frame
        results.update(
            sample_idx=number, scenario=moment.scenario, frame=frame, map_path=moment.map_path
        )
        return unlabelled(self.dataset.pipeline, results)

    def results(self, moment: Moment) -> dict:
        """What the pipeline gets."""
        agents = moment.checked()
        ego, dataset = agents[0], self.dataset
        wanted = MODES[dataset.mode][0]
        if dataset.ego != 'any' and KINDS[ego.kind] != wanted:
            raise SettingError(
                f'Moment.agents: the first one is the ego, in mode {dataset.mode!r} of the config '
                f'of kind {[*KINDS][wanted]!r}, got {ego.name}'
            )
        reach = self.max_delay + dataset.step * (dataset.num_history + 1)
        infos, clouds = infos_of(agents, self.name, reach)
        dataset.use(infos)
        now = int(infos.frame.max())
        rate = infos.dialect.frame_rate
        last = np.flatnonzero(np.diff(infos.agent, append=np.iinfo(np.int32).max))
        age = (now - infos.frame[last]) / rate
        rows = last[age <= self.max_delay + 1e-6]
        row = int(last[infos.agent[last] == ego.number][0])
        ids = dataset.heard(row, rows)
        delays = dict(zip(infos.agent[last].tolist(), age.tolist(), strict=True))
        results = dataset.results_of(
            row, ids, np.random.default_rng(0), np.array([delays[agent] for agent in ids.tolist()])
        )
        return results | dict(clouds=clouds, left_handed_clouds=False)


def infos_of(
    agents: list[AgentClouds], dataset: str, reach: float
) -> tuple[Infos, dict[str, np.ndarray]]:
    """Poses and clouds as an info file would have them.

    Args:
        agents: checked ones, the ego first.
        dataset: whose frame numbers count.
        reach: seconds; what is older than that is left out.

    Returns:
        Infos of one scenario without a label, whose last frame is that of the ego's newest cloud;
        later ones are left out. And the clouds that are arrays, (P, 4) by the names in ``cloud``.
    """
    rate = resolve_dialect(dataset).frame_rate
    now, clouds, columns = agents[0].times[-1], {}, []
    for agent in agents:
        ticks = (np.asarray(agent.times) - now) * rate
        ticks = ticks[np.round(ticks) <= 0]
        if not len(ticks):
            continue
        newest = int(np.argmin(np.abs(ticks)))
        # Counted from it: a LiDAR that is half a frame off would skip numbers else.
        since = ticks[: newest + 1] - ticks[newest]
        steps = np.round(since)
        frames, away = np.round(ticks[newest]) + steps, np.abs(since - steps)
        there = np.flatnonzero(frames >= -reach * rate)
        for frame in np.unique(frames[there]):
            same = there[frames[there] == frame]
            i = same[np.argmin(away[same])]
            cloud = agent.clouds[i]
            if isinstance(cloud, np.ndarray):
                path = cloud_name(agent.name, agent.times[i])
                clouds[path] = rows_of(cloud)
            else:
                path = '' if cloud is None else str(cloud)
            columns.append((agent.number, int(frame), agent.poses[i], path))
    columns.sort(key=lambda column: column[:2])
    agent, frame, pose, cloud = zip(*columns, strict=True)
    frame = np.array(frame) - min(frame)
    count = len(columns)
    infos = Infos(
        dataset=np.array(dataset),
        scenarios=np.array(['online']),
        class_names=np.array([], dtype=np.str_),
        scenario=np.zeros(count, dtype=np.int32),
        agent=np.array(agent, dtype=np.int32),
        frame=frame.astype(np.int32),
        world_from_agent=np.stack(pose),
        cloud=np.array(cloud, dtype=np.str_),
        object_begin=np.zeros(count + 1, dtype=np.int64),
        object_id=np.zeros(0, dtype=np.int64),
        object_class=np.zeros(0, dtype=np.int16),
        object_centre=np.zeros((0, 3)),
        object_angle=np.zeros((0, 3), dtype=np.float32),
        object_extent=np.zeros((0, 3), dtype=np.float32),
        lag=np.zeros(count, dtype=np.float32),
        labelled=np.zeros(count, dtype=bool),
        labels=np.array(LABELS[0]),
    )
    return infos, clouds


def cloud_name(agent: str, time: float) -> str:
    """What stands for the path of a cloud in memory."""
    return f'{agent}, cloud at {time} s'


def open_folder(folder: str, settings: Mapping, dataset: str) -> UnlabelledDataset:
    """All moments of a folder that lies as a dataset does, with labels or without.

    Args:
        folder: of one scenario, or of scenarios, such as a split's.
        settings: of ``V2XPnPDataset``, as a config has them for testing.
        dataset: whose conventions the files follow, a key of ``DIALECTS``.

    Raises:
        SettingError: the dataset's layout has no folders of scenarios.
        DataFileError: the folder, or a file in it, is not as the format says.
    """
    if isinstance(resolve_dialect(dataset), DairDialect):
        raise SettingError(
            f'{dataset} lists its frames in files, and only folders of scenarios are read without '
            'info files; give clouds and poses as Moment, or make info files with '
            'tools/create_data.py'
        )
    folder = os.path.abspath(folder)
    inner = list_folder(folder).folders
    if not inner:
        raise DataFileError(folder, 'has no folders; expected scenarios, or the agents of one')
    scenario = None
    if any(map(AGENT.fullmatch, inner)):
        folder, scenario = os.path.split(folder)
    elif not _has_agents(folder, inner):
        raise DataFileError(
            folder,
            'expected a folder of scenarios or of one scenario; name one of '
            f'{", ".join(inner[:5])} in it',
        )
    data_root, split = os.path.split(folder)
    infos = build_infos(data_root, split, dataset, labels=None, scenario=scenario)
    return UnlabelledDataset(infos, **{**settings, 'data_root': data_root})


def _has_agents(folder: str, inner: list[str]) -> bool:
    return any(
        any(map(AGENT.fullmatch, list_folder(os.path.join(folder, name)).folders)) for name in inner
    )


def unlabelled(pipeline: Callable[[dict], dict], results: dict) -> dict:
    """A packed sample with ``world_from_ego`` (4, 4) instead of ``gt_instances_3d``."""
    pose = results['world_from_ego']
    data = pipeline(results)
    del data['data_samples'].gt_instances_3d
    data['data_samples'].set_field(pose, 'world_from_ego', field_type='metainfo')
    return data
