"""The half that runs with the ego."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet3d.structures import Det3DDataSample
from mmengine.dataset import pseudo_collate
from torch import Tensor

from ..errors import SettingError
from ..models.detectors.agent_batch import AgentBatch
from .message import MessageError, unpack
from .moment import AgentClouds, Cloud, Moment
from .predictions import arrays_of
from .samples import UnlabelledMoments, cloud_name
from .trunk import SPACING, AgentTrunk, OnlineModel, Seen, clouds_of

__all__ = ['Ego']


class Ego:
    """Detects with what it sees and what others have sent.

    A message may come before the ego's cloud of the same time: its map is kept until the ego has
    seen a cloud as new as the agent's next message. Whatever arrives, the ego keeps at most
    ``max_agents`` agents, of each the maps of ``max_lead`` and of two frame numbers before, and the
    points of the few seconds that the model looks back.

    Args:
        model: the network.
        kind: ``vehicle`` or ``infrastructure``; the kind of the ego in the config's mode.
        id: from 1 up.
        max_delay: seconds; agents whose newest message is older than the ego's own cloud by more
            are not heard.
        max_lead: seconds by which a message may be newer than the ego's own newest cloud.
        max_agents: how many others are remembered.
        max_points: how many points a message may have.
        map_path: see :class:`Moment`.

    Attributes:
        refused: how many messages were refused, by reason: ``oversized``, ``damaged``, ``foreign``
            (not a message), ``version``, ``model`` (of other weights), ``own`` (of the ego's own
            name), ``future``, ``late``, ``replayed`` (not newer than the agent's last one),
            ``frequent`` (closer to the last one than ``SPACING``), ``crowded``. The ego learns the
            time from its first cloud: which of the messages before it are of the ``future`` is seen
            then, and these are dropped and counted.
        last_refusal: what was wrong with the last of them.
    """

    def __init__(
        self,
        model: OnlineModel,
        kind: str = 'vehicle',
        id: int = 1,
        max_delay: float = 0.5,
        max_lead: float = 0.5,
        max_agents: int = 32,
        max_points: int = 2**18,
        map_path: str = '',
    ) -> None:
        if not 0 <= max_lead < 1e6 or max_agents < 1 or max_points < 0:
            raise SettingError(
                'expected max_lead in seconds from 0, max_agents from 1 and max_points from 0, got '
                f'{max_lead}, {max_agents} and {max_points}'
            )
        self.model, self.max_lead, self.map_path = model, max_lead, map_path
        self.max_delay, self.max_agents, self.max_points = max_delay, max_agents, max_points
        self.moments = UnlabelledMoments(model.settings, model.inputs.name, max_delay)
        self.trunk = AgentTrunk(model, kind, id)
        self.refused: Counter[str] = Counter()
        self.last_refusal = ''
        self._heard: dict[str, tuple[AgentClouds, list[Seen]]] = {}

    @property
    def now(self) -> float | None:
        """Time of the ego's newest cloud."""
        return self.trunk.seen[-1].time if self.trunk.seen else None

    @property
    def heard(self) -> dict[str, Seen]:
        """The newest message of each of the others by the ego's time, by name."""
        latest = np.inf if self.now is None else self.now + 0.5 / self.model.frame_rate
        usable = {
            name: [one for one in seen if one.time <= latest]
            for name, (_, seen) in self._heard.items()
        }
        return {name: seen[-1] for name, seen in usable.items() if seen}

    def see(self, cloud: Cloud, pose: np.ndarray | Sequence[float], time: float) -> None:
        """Take the ego's own cloud; arguments as for :meth:`Sender.encode`."""
        self.trunk.see(cloud, pose, time)
        for _, seen in self._heard.values():
            while seen and (early := self._early(seen[-1].time)):
                self._refuse(early)
                seen.pop()
        self._forget(self.model.reach)  # a message that is on its way needs what came before it
        self._heard = {k: (agent, self._kept(seen)) for k, (agent, seen) in self._heard.items()}

    def receive(self, data: bytes) -> bool:
        """Take a message, or refuse and count it.

        Returns:
            Whether it was taken.
        """
        try:
            self._take(data)
        except MessageError as error:
            self._refuse(error)
            return False
        return True

    def detect(
        self, time: float | None = None, frame: str = 'ego', pred_score_thr: float = 0.0
    ) -> dict[str, Any]:
        """Detect and forecast at the time of the ego's newest cloud.

        Args:
            time: when that was, as a check; None asks for no check.
            frame: see :func:`~.predictions.arrays_of`.
            pred_score_thr: leave out detections with a lower score.

        Returns:
            See :func:`~.predictions.arrays_of`; with ``time``, ``ego``, ``agents`` (names of all
            that were heard, the ego first), ``delays`` (N,) s, ``message_bytes`` (size of the
            message of each of the others) and ``world_from_ego`` (4, 4).

        Raises:
            SettingError: the ego has no cloud of that time.
        """
        if time is not None and time != self.now:
            raise SettingError(f'detect: the newest cloud of the ego is of {self.now}, got {time}')
        found, heard = self.sample()
        instances = found.pred_instances_3d
        instances = instances[instances.scores_3d >= pred_score_thr]
        agents = found.agents
        arrays = arrays_of(instances, self.model.inputs.classes, found.world_from_ego, frame)
        names = {agent.number: agent.name for agent, _ in self._heard.values()}
        names[self.trunk.agent.number] = self.trunk.agent.name
        there = agents.valid[:, -1]
        return dict(
            time=self.now,
            ego=self.trunk.agent.name,
            agents=[names[number] for number in agents.ids[there].tolist()],
            delays=agents.delays[there],
            message_bytes=[one.size for one, ok in zip(heard[1:], there[1:], strict=True) if ok],
            world_from_ego=found.world_from_ego,
            **arrays,
        )

    def sample(self) -> tuple[Det3DDataSample, list[Seen | None]]:
        """The same as :meth:`detect`, as mmdet3d has it.

        Returns:
            The sample with ``pred_instances_3d``, as the detector gives it; and of each of its
            agents what its map was taken from, None of those without one.

        Raises:
            SettingError: the ego has no cloud.
        """
        if self.now is None:
            raise SettingError('detect: the newest cloud of the ego is of None, see() gives it one')
        data, heard = self._inputs()
        return self._run(data, heard), heard

    def _refuse(self, error: MessageError) -> None:
        self.refused[error.reason] += 1
        self.last_refusal = f'{error.reason}: {error}'

    def _early(self, time: float) -> MessageError | None:
        """Why a message is refused whose time is too far ahead of the ego's; None if it is not."""
        if self.now is None or time <= self.now + self.max_lead:
            return None
        return MessageError('future', f'is of {time:g} s, now is {self.now:g} s')

    def _take(self, data: bytes) -> None:
        model = self.model
        message = unpack(data, model.number, model.shape, model.limits, self.max_points)
        agent = AgentClouds([None], [np.eye(4)], kind=message.kind, id=message.id)
        if agent.number == self.trunk.agent.number:
            raise MessageError('own', f'is from {agent.name}, which is the ego')
        now, tick = self.now, 1.0 / model.frame_rate
        if early := self._early(message.time):
            raise early
        if now is not None and message.time < now - self.max_delay - tick / 2:
            raise MessageError('late', f'is of {message.time:g} s, now is {now:g} s')
        _, seen = self._heard.get(agent.name, (agent, []))
        if seen and message.time <= seen[-1].time:
            raise MessageError('replayed', f'{agent.name} has sent one of {seen[-1].time:g} s')
        if seen and message.time < seen[-1].time + SPACING * tick:
            most = 1 / (SPACING * tick)
            raise MessageError('frequent', f'{agent.name} sends more often than {most:.1f} Hz')
        full = agent.name not in self._heard and len(self._heard) >= self.max_agents
        if full and now is not None:
            self._forget(tick)  # who is too late to be heard makes room
        if full and len(self._heard) >= self.max_agents:
            raise MessageError('crowded', f'{self.max_agents} agents are remembered already')
        cells = None
        if message.cells is not None:
            cells = torch.from_numpy(message.cells)[None, None].to(model.device)
        newest = Seen(
            message.time, message.world_from_agent, message.points,
            model.received(message.values), cells, len(data),
        )  # fmt: skip
        self._heard[agent.name] = agent, self._kept([*seen, newest])

    def _kept(self, seen: list[Seen]) -> list[Seen]:
        """What of an agent's messages, oldest first, can still be used, with the maps that can."""
        # Before the ego's first cloud now may be any time that the newest one is not too early for.
        now = seen[-1].time - self.max_lead if self.now is None else self.now
        oldest = now - self.model.reach - self.max_delay
        # Of those that round to one frame number the nearest counts, which may not be the newest.
        newest = max((one.time for one in seen if one.time <= now), default=-np.inf)
        oldest_map = newest - 1.5 / self.model.frame_rate
        return [
            one if one.time > oldest_map else one._replace(map=None, cells=None)
            for one in seen
            if one.time > oldest
        ]

    def _forget(self, seconds: float) -> None:
        """Drop who has been silent for that much longer than a message may be late."""
        oldest = self.now - self.max_delay - seconds
        self._heard = {k: v for k, v in self._heard.items() if v[1] and v[1][-1].time > oldest}

    def _inputs(self) -> tuple[dict, list[Seen | None]]:
        """The moment as the data set would have it, and what each agent's map is taken from."""
        own = self.trunk.seen
        agents = [self.trunk.clouds(own)]
        sources = {cloud_name(self.trunk.agent.name, own[-1].time): own[-1]}
        for agent, seen in self._heard.values():
            agents.append(clouds_of(agent, seen, [one.points for one in seen]))
            sources |= {cloud_name(agent.name, one.time): one for one in seen}
        data = self.moments(Moment(agents, self.map_path))
        sample = data['data_samples']
        frames = sample.agents.num_frames
        heard = [sources.get(path) for path in sample.cloud_paths[frames - 1 :: frames]]
        there = np.array([one is not None and one.map is not None for one in heard])
        if not there.all():
            kept = np.repeat(there[:, None], frames, axis=1)
            sample.set_field(sample.agents.only(kept), 'agents', field_type='metainfo')
        return data, heard

    @torch.no_grad()
    def _run(self, data: dict, heard: list[Seen | None]) -> Det3DDataSample:
        detector = self.model.detector
        data = detector.data_preprocessor(pseudo_collate([data]))
        inputs, samples = data['inputs'], data['data_samples']
        own = self.trunk.fused()
        maps = torch.cat([own, *(self._map_of(one, own) for one in heard[1:])])
        batch = AgentBatch([samples[0].agents], maps)
        valid = batch.valid.any(dim=1)
        if any(one is not None and one.cells is not None for one in heard):
            cells = [one.cells if one and one.cells is not None else None for one in heard]
            everywhere = valid.new_ones(1, 1, *maps.shape[2:])
            chosen = torch.cat([everywhere if c is None else c for c in cells])
            valid = valid[:, None, None, None] & chosen
        bev = detector.finish(detector.fuse_agents(maps, batch, valid), samples)
        return detector.predict_on(bev, inputs, samples)[0]

    @staticmethod
    def _map_of(one: Seen | None, own: Tensor) -> Tensor:
        return torch.zeros_like(own) if one is None or one.map is None else one.map
