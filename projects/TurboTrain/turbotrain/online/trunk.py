"""The part of a detector that every agent runs for itself: its own clouds to one map."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ..datasets.point_kernels import move
from ..datasets.readers import read_point_cloud, resolve_dialect, usable_points
from ..datasets.transforms import LoadCooperativePoints
from ..errors import SettingError
from ..models import CooperativeDetector, LateFusionDetector
from ..models.compression import FeatureCompression
from ..models.detectors.agent_batch import AgentBatch
from ..pretraining.stock import range_of
from ..structures import invert_rigid
from .inferencer import CooperativeInferencer
from .moment import AgentClouds, Cloud, checked_cloud, checked_pose, rows_of
from .samples import UnlabelledMoments, infos_of

__all__ = ['SPACING', 'AgentTrunk', 'OnlineModel', 'Seen']

# Frame numbers from one cloud of an agent to the next: closer ones are not kept, whatever the rate
# of its LiDAR. Of 20 Hz all are, where frame numbers are 0.1 s apart.
SPACING = 0.45

_NO_CLOUD = np.zeros((0, 4), dtype=np.float32)


class OnlineModel:
    """A detector that runs in parts, on each agent's clouds by themselves.

    ``ProjectPointsToEgo`` is left out of the pipeline: a sender moves its points itself, to where
    it last heard that the ego was, and the fusion neck moves its map from there. Senders and egos
    of one process can share it.

    Args:
        model: config file of a ``CooperativeDetector``, or its config.
        weights: its checkpoint.
        device: a GPU by default, if there is one.

    Attributes:
        detector: the network.
        number: of the weights; messages of others are refused.
        shape: (C, H, W) of what an agent sends.
        limits: (6,) float32, metres, of the maps.

    Raises:
        SettingError: the method has no maps that are sent once; says why.
        UserError: see :class:`CooperativeInferencer`.
    """

    def __init__(
        self, model: str | Path | Config, weights: str | Path, device: str | None = None
    ) -> None:
        inferencer = CooperativeInferencer(model, weights, device, show_progress=False)
        self.detector = inferencer.model
        self.device = next(self.detector.parameters()).device
        self.inputs = inferencer.pipeline
        steps = list(self.inputs.settings['pipeline'])
        _refuse_other_methods(self.detector, [step['type'] for step in steps])
        own = [step for step in steps if step['type'] != 'ProjectPointsToEgo']
        self.settings = {**self.inputs.settings, 'pipeline': own}
        moments = UnlabelledMoments(self.settings, self.inputs.name, 0.0)
        self.dataset = moments.dataset
        self.load = next(
            step
            for step in self.dataset.pipeline.transforms
            if isinstance(step, LoadCooperativePoints)
        )
        self.dialect = resolve_dialect(self.inputs.name)
        self.frame_rate = self.dialect.frame_rate
        self.reach = self.dataset.step * (self.dataset.num_history + 1)
        self.limits = np.float32(range_of(inferencer.cfg.model))
        self.number = _number_of(self.detector, self.limits)
        self.sends_points = self.detector.velocity_head is not None
        self.blank = self.encode(_NO_CLOUD)
        trunk = AgentTrunk(self, 'vehicle', 1)
        trunk.see(_NO_CLOUD, np.eye(4), 0.0)
        self.shape = tuple(self.sent(trunk.fused()).shape[1:])

    def read(self, cloud: Cloud) -> np.ndarray:
        """(P, 4) float32 of a file or an array, cleaned as in training."""
        if isinstance(cloud, np.ndarray):
            points = usable_points('cloud', rows_of(cloud))
        else:
            points = read_point_cloud(str(cloud))
        return self.load.clean(points, self.dialect.byte_intensity)

    @torch.no_grad()
    def encode(self, points: np.ndarray) -> Tensor:
        """A cloud (P, 4) to its map (1, C, H, W)."""
        return self.detector.encode_clouds([torch.from_numpy(points).to(self.device)])

    @torch.no_grad()
    def sent(self, fused: Tensor) -> Tensor:
        """What of an agent's map (1, C, H, W) goes into a message."""
        compression = self.detector.compression
        return fused if compression is None else compression.encoder(fused)

    @torch.no_grad()
    def received(self, values: np.ndarray) -> Tensor:
        """The map (1, C, H, W) of what was sent (C', H, W)."""
        sent = torch.from_numpy(values)[None].to(self.device)
        compression = self.detector.compression
        return sent if compression is None else compression.decoder(sent)


class Seen(NamedTuple):
    """One cloud of an agent.

    Attributes:
        time: seconds.
        world_from_agent: (4, 4), of the map's frame.
        points: (P, 3+) float32, metres, in that frame; (0, 4) if nothing looks at them.
        map: (1, C, H, W), of the cloud alone or of all until then; None if it is not kept.
        cells: (1, 1, H, W) bool, which cells of the map are there; None is for all.
        size: bytes of the message that brought it, 0 of an own one.
    """

    time: float
    world_from_agent: np.ndarray
    points: np.ndarray
    map: Tensor | None
    cells: Tensor | None = None
    size: int = 0


class AgentTrunk:
    """One agent's own clouds: each is encoded once, and fused with those before.

    Which of them the model will look at is open until later clouds come, as it counts back from
    each of them. Kept are all that are ``SPACING`` apart, so that no frame number goes without.

    Args:
        model: the network.
        kind: ``vehicle`` or ``infrastructure``.
        id: from 1 up.
    """

    def __init__(self, model: OnlineModel, kind: str, id: int) -> None:
        self.model = model
        self.agent = AgentClouds([None], [np.eye(4)], kind=kind, id=id).checked()
        self.seen: list[Seen] = []

    def see(
        self,
        cloud: Cloud,
        pose: np.ndarray | Sequence[float],
        time: float,
        ego_pose: np.ndarray | Sequence[float] | None = None,
    ) -> None:
        """Encode a cloud.

        Args:
            cloud: see :class:`AgentClouds`; not None.
            pose: see :class:`AgentClouds`.
            time: seconds, later than before.
            ego_pose: see :meth:`Sender.encode`.

        Raises:
            SettingError: one of them is not as it must be.
            DataFileError: the cloud cannot be read.
        """
        name, model = self.agent.name, self.model
        if cloud is None:
            raise SettingError(f'{name}: cloud: expected a file or an array (P, 4), got None')
        checked_cloud(f'{name}: cloud', cloud)
        pose = checked_pose(f'{name}: pose', pose)
        last = self.seen[-1].time if self.seen else -np.inf
        if not isinstance(time, int | float | np.number) or not last < time < np.inf:
            raise SettingError(f'{name}: time: expected seconds above {last:g}, got {time!r:.60}')
        points = model.read(cloud)
        if ego_pose is not None:
            frame = checked_pose(f'{name}: ego_pose', ego_pose)
            move(points, np.float32(invert_rigid(frame) @ pose))
            pose = frame
        encoded = model.encode(points)
        points = points if model.sends_points else _NO_CLOUD
        kept = [one for one in self.seen if one.time > time - model.reach]
        if len(kept) > 1 and kept[-1].time - kept[-2].time < SPACING / model.frame_rate:
            kept.pop()
        self.seen = [*kept, Seen(float(time), pose, points, encoded)]

    def clouds(self, seen: Sequence[Seen]) -> AgentClouds:
        """Points of this agent, as the look-up of samples takes them."""
        return clouds_of(self.agent, seen, [one.points for one in seen])

    @torch.no_grad()
    def fused(self) -> Tensor:
        """The frames that count now as one map (1, C, H, W) in the agent's frame of now.

        Missing frames are what clouds of no points are in samples.
        """
        model, dataset = self.model, self.model.dataset
        numbers = [str(i) for i in range(len(self.seen))]
        own = clouds_of(self.agent, self.seen, numbers)
        infos, _ = infos_of([own], model.inputs.name, model.reach)
        dataset.use(infos)
        pose, ids = self.seen[-1].world_from_agent, np.array([self.agent.number])
        agents, paths = dataset.observe(0, int(infos.frame[-1]), ids, pose, np.zeros(1))
        maps = [self.seen[int(path)].map if path else model.blank for path in paths]
        frames = torch.stack(maps, dim=1)
        return model.detector.fuse_frames(frames, AgentBatch([agents], frames))


def clouds_of(agent: AgentClouds, seen: Sequence[Seen], clouds: Sequence) -> AgentClouds:
    """An agent with some clouds at the poses and times of what it has seen."""
    poses = [one.world_from_agent for one in seen]
    return AgentClouds(clouds, poses, [one.time for one in seen], agent.kind, agent.id)


def _refuse_other_methods(detector: torch.nn.Module, steps: list[str]) -> None:
    name = type(detector).__name__
    if isinstance(detector, LateFusionDetector):
        why = f'{name} shares boxes, not maps'
    elif not isinstance(detector, CooperativeDetector):
        why = f'expected a CooperativeDetector, got a {name}'
    elif 'MergeAgentPoints' in steps:
        why = 'early fusion (MergeAgentPoints) sends points, not maps'
    elif 'EgoOnly' in steps:
        why = 'its ego hears nobody (EgoOnly)'
    elif not isinstance(detector.compression, FeatureCompression | None):
        why = f'{type(detector.compression).__name__} has no part that only a sender runs'
    else:
        return
    raise SettingError(
        f'this method cannot be split into senders and an ego: {why}; CooperativeInferencer runs it'
    )


def _number_of(detector: torch.nn.Module, limits: np.ndarray) -> int:
    """The same on all machines for the same weights."""
    number = zlib.crc32(limits.tobytes())
    for name, value in sorted(detector.state_dict().items()):
        number = zlib.crc32(value.cpu().numpy().tobytes(), zlib.crc32(name.encode(), number))
    return number
