"""A recorded scenario, cloud by cloud, as its agents have seen it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from ..datasets.info_file import load_infos
from ..datasets.modes import in_mode_order
from ..datasets.readers import read_point_cloud
from ..errors import SettingError
from .moment import AgentClouds, Moment
from .samples import UnlabelledDataset, open_folder
from .trunk import OnlineModel

__all__ = ['Recording', 'open_recording']


@dataclass(frozen=True)
class Recording:
    """What some agents have seen, the first of them at 0 s.

    Attributes:
        name: of the scenario.
        agents: the ego first, and whom it may hear; clouds are files, None where one is missing.
        period: seconds from one cloud of the ego to the next.
        map_path: of the vector map.
        left_handed: whether the files have y to the right.
    """

    name: str
    agents: list[AgentClouds]
    period: float
    map_path: str
    left_handed: bool = False

    @property
    def length(self) -> float:
        """Seconds from the first cloud to the last."""
        return max(agent.times[-1] for agent in self.agents)

    def cloud(self, agent: int, i: int) -> np.ndarray | None:
        """The i-th cloud of an agent, by its place in ``agents``: (P, 4) float32, right-handed.

        Raises:
            DataFileError: it cannot be read.
        """
        path = self.agents[agent].clouds[i]
        if path is None:
            return None
        points = read_point_cloud(path)
        if self.left_handed:
            points[:, 1] *= -1.0
        return points

    def moment(self, time: float, reach: float) -> Moment:
        """What there is to see at a time, and in the seconds before it that a model looks at."""
        agents = []
        for n, agent in enumerate(self.agents):
            seen = [i for i, t in enumerate(agent.times) if time - reach < t < time + 1e-6]
            if seen:
                parts = ([part[i] for i in seen] for part in (agent.poses, agent.times))
                clouds = [self.cloud(n, i) for i in seen]
                agents.append(AgentClouds(clouds, *parts, agent.kind, agent.id))
        return Moment(agents, self.map_path, self.name)

    def again_and_again(self, agent: int, pause: float) -> Iterator[tuple[float, int]]:
        """When an agent has which of its clouds, without end.

        Args:
            agent: its place in ``agents``.
            pause: seconds from the last cloud to the first one of the next round, in which whatever
                the last round has left must be forgotten.

        Yields:
            Seconds from the first round's beginning, rising, and the number of the cloud.
        """
        own = self.agents[agent]
        there = [(time, i) for i, time in enumerate(own.times) if own.clouds[i] is not None]
        for round_ in count():
            for time, i in there:
                yield round_ * (self.length + pause) + time, i


def open_recording(model: OnlineModel, scenario: str = '') -> Recording:
    """Open a scenario of the data that a model's config is for.

    Args:
        model: whose config's mode says who the ego is, and whom it hears.
        scenario: a folder in the layout of the config's dataset, with labels or without, or the
            name of a scenario of the config's test set, its first one by default.

    Raises:
        SettingError: there is no such scenario.
        DataFileError: a file is not as the format says.
    """
    settings, inputs = model.settings, model.inputs
    if os.path.isdir(scenario):
        dataset = open_folder(scenario, settings, inputs.name)
        name = os.path.basename(os.path.abspath(scenario))
        if name not in dataset.infos.scenarios:
            raise SettingError(f'{scenario}: expected the folder of one scenario, not of several')
    else:
        infos = load_infos(os.path.join(settings['data_root'], inputs.ann_file))
        dataset, name = UnlabelledDataset(infos, **settings), scenario or str(infos.scenarios[0])
        if name not in infos.scenarios:
            raise SettingError(
                f'there is no folder {scenario!r}, and {inputs.ann_file} has no scenario of that '
                f'name, but {", ".join(infos.scenarios[:5])}'
            )
    return _recording(dataset, name)


def _recording(dataset: UnlabelledDataset, name: str) -> Recording:
    infos = dataset.infos
    scenario = int(np.flatnonzero(infos.scenarios == name)[0])
    rows = np.flatnonzero(infos.scenario == scenario)
    rate, first = infos.dialect.frame_rate, int(infos.frame[rows].min())
    agents = []
    seeing = rows[infos.cloud[rows] != '']  # one without a cloud would be waited for without end
    for number in in_mode_order(np.unique(infos.agent[seeing]), dataset.mode):
        own = rows[infos.agent[rows] == number]
        paths = [str(path) and os.path.join(dataset.data_root, path) for path in infos.cloud[own]]
        agents.append(
            AgentClouds(
                clouds=[path or None for path in paths],
                poses=list(infos.world_from_agent[own]),
                times=((infos.frame[own] - first) / rate).tolist(),
                kind='vehicle' if number > 0 else 'infrastructure',
                id=abs(number),
            )
        )
    egos = (infos.scenario[entry['rows'][0]] for entry in dataset.data_list)
    begin = next((i for i, of in enumerate(egos) if of == scenario), None)
    if begin is None or len(agents[0].times) < 2:
        raise SettingError(
            f'{name}: expected two clouds or more of an agent that can be the ego in mode '
            f'{dataset.mode!r}'
        )
    return Recording(
        name=name,
        agents=agents,
        period=float(np.median(np.diff(agents[0].times))),
        map_path=dataset.get_data_info(begin)['map_path'],
        left_handed=infos.dialect.left_handed,
    )
