"""The half that runs with every agent but the ego."""

from collections.abc import Sequence

import numpy as np

from ..errors import SettingError
from ..models.compression import FeatureCompression
from .message import PRECISIONS, MapMessage, pack
from .moment import Cloud
from .trunk import AgentTrunk, OnlineModel

__all__ = ['Sender']


class Sender:
    """Makes messages of one agent's clouds.

    It keeps the maps of its past clouds and moves them by its own motion: a new cloud is one
    encoding, however many frames the model looks at.

    Args:
        model: the network.
        kind: ``vehicle`` or ``infrastructure``.
        id: from 1 up, which no other agent of this kind has.
        precision: of the values, see :func:`~.message.pack`; by default what the model was trained
            to receive, ``int8`` for a ``FeatureCompression`` of 8 bits, else ``float32``.
        compress: by zlib, which costs time.
        sparse: leave out cells that have little to tell, as Where2comm's agents do by themselves
            (``budget`` and ``threshold`` of the config); here without having been asked by the ego.

    Raises:
        SettingError: an argument is not as it must be.
    """

    def __init__(
        self,
        model: OnlineModel,
        kind: str,
        id: int,
        precision: str | None = None,
        compress: bool = False,
        sparse: bool = False,
    ) -> None:
        compression = model.detector.compression
        if precision is None:
            coarse = isinstance(compression, FeatureCompression) and compression.bits == 8
            precision = 'int8' if coarse else 'float32'
        if precision not in PRECISIONS:
            raise SettingError(f'precision: expected one of {[*PRECISIONS]}, got {precision!r}')
        if sparse and not hasattr(model.detector.fusion_neck, 'own_cells'):
            raise SettingError(
                'sparse: only Where2commFusion says which cells matter, the model has '
                f'{type(model.detector.fusion_neck).__name__}'
            )
        self.model, self.precision = model, precision
        self.compress, self.sparse = compress, sparse
        self.trunk = AgentTrunk(model, kind, id)

    def encode(
        self,
        cloud: Cloud,
        pose: np.ndarray | Sequence[float],
        time: float,
        ego_pose: np.ndarray | Sequence[float] | None = None,
    ) -> bytes:
        """A message of what the agent sees.

        Args:
            cloud: an array (P, 4) of x, y, z (m) and intensity in the LiDAR's frame, or a file.
            pose: of the LiDAR in the world, (4, 4) or ``[x, y, z, roll, yaw, pitch]`` in metres and
                degrees.
            time: seconds of the clock that all agents share, later than before.
            ego_pose: of the ego's LiDAR, as last heard of. The map is then of its surroundings and
                in its frame, as in training with ``ProjectPointsToEgo``: networks tell headings and
                heights from it. An old pose does little harm, as the message says what frame it is
                in; the config's range of communication does not count for it. Without it the map is
                in the agent's own frame.

        Raises:
            SettingError: one of them is not as it must be.
            DataFileError: the cloud cannot be read.
        """
        trunk, model = self.trunk, self.model
        trunk.see(cloud, pose, time, ego_pose)
        fused, cells = trunk.fused(), None
        if self.sparse:
            cells = model.detector.fusion_neck.own_cells(fused)[0, 0].cpu().numpy()
        newest = trunk.seen[-1]
        message = MapMessage(
            model=model.number,
            kind=trunk.agent.kind,
            id=trunk.agent.id,
            time=newest.time,
            world_from_agent=newest.world_from_agent,
            limits=model.limits,
            values=model.sent(fused)[0].cpu().numpy(),
            cells=cells,
            points=newest.points[:, :3],
        )
        return pack(message, self.precision, self.compress)
