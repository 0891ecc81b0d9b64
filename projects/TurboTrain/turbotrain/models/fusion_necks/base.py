"""What every fusion neck takes and gives."""

from abc import ABCMeta, abstractmethod

import torch
from mmengine.model import BaseModule
from torch import Tensor

from ...errors import SettingError
from ..warping import warp_bev

__all__ = ['BaseFusionNeck']


class BaseFusionNeck(BaseModule, metaclass=ABCMeta):
    """Fuses the agents of each sample into the ego's map: (sum N_i, C, H, W) to (B, C, H, W).

    Args:
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]`` (m) of the feature maps.

    Attributes:
        flow_channels: how many channels the neck takes behind the C of the map; see
            :meth:`compensate`.
        sent_cells: (B, N) int64, how many cells each agent has sent in the latest forward pass, of
            samples padded to N agents; None means all.
    """

    flow_channels = 0
    sent_cells: Tensor | None = None

    def __init__(self, point_cloud_range: list[float], init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.point_cloud_range = point_cloud_range

    def forward(
        self,
        features: Tensor,
        num_agents: list[int],
        kinds: Tensor,
        valid: Tensor,
        ego_from_agent: Tensor | None = None,
        delays: Tensor | None = None,
    ) -> Tensor:
        """Bring the agents' maps into the ego's frame and fuse them.

        Args:
            features: (sum N_i, C + flow_channels, H, W), a sample's agents side by side, its ego
                first.
            num_agents: N_i of each of the B samples.
            kinds: (sum N_i,) int64, 0 vehicle, 1 infrastructure. Other values have no weights and
                are not looked for, which would wait for the device; ``Agents`` refuses them.
            valid: (sum N_i,) bool, whether the agent has sent anything, or (sum N_i, 1, H, W),
                which cells it has sent.
            ego_from_agent: (sum N_i, 4, 4); None when all maps lie in the ego's frame.
            delays: (sum N_i,) s, by how much each agent's map is older than now; None for 0.

        Returns:
            (B, C, H, W) in the ego's frame.

        Raises:
            SettingError: something has another shape.
        """
        count, cells = sum(num_agents), features.shape[-2:]
        for name, given, shapes in (
            ('features', features, [(count, *features.shape[1:])]),
            ('kinds', kinds, [(count,)]),
            ('valid', valid, [(count,), (count, 1, *cells)]),
            ('ego_from_agent', ego_from_agent, [(count, 4, 4)]),
            ('delays', delays, [(count,)]),
        ):
            if given is not None and tuple(given.shape) not in shapes:
                wanted = ' or '.join(map(str, shapes))
                raise SettingError(
                    f'{name}: expected shape {wanted} for num_agents {list(num_agents)}, got '
                    f'{tuple(given.shape)}'
                )
        late = features.new_zeros(len(kinds)) if delays is None else delays.to(features)
        seen = valid.reshape(len(valid), 1, *(valid.shape[2:] or (1, 1)))
        features, seen = self.compensate(features, seen, late)
        if ego_from_agent is not None:
            if seen.shape[-1] > 1:
                known = warp_bev(seen.to(features.dtype), ego_from_agent, self.point_cloud_range)[0]
                seen = known > 0.5
            features, inside = warp_bev(features, ego_from_agent, self.point_cloud_range)
            seen = seen & inside
        # A rectangle of samples x agents: one kernel for all, at the price of some padding.
        batch, agents = len(num_agents), max(num_agents)
        position = torch.tensor(
            [b * agents + a for b, n in enumerate(num_agents) for a in range(n)],
            device=features.device,
        )

        def pad(rows: Tensor) -> Tensor:
            padded = rows.new_zeros(batch * agents, *rows.shape[1:])
            return padded.index_copy(0, position, rows).view(batch, agents, *rows.shape[1:])

        if len(position) == batch * agents:
            maps = features.view(batch, agents, *features.shape[1:])
        else:
            maps = pad(features)
        return self.fuse(maps, pad(kinds), pad(seen), pad(late))

    def compensate(self, features: Tensor, seen: Tensor, delays: Tensor) -> tuple[Tensor, Tensor]:
        """Bring late maps up to now, each in its own frame; by default they stay as they are.

        Args:
            features: (sum N_i, C + flow_channels, H, W).
            seen: bool, broadcastable to (sum N_i, 1, H, W).
            delays: (sum N_i,) s.

        Returns:
            (sum N_i, C, H, W), and ``seen`` of it.
        """
        return features, seen

    def split_flow(self, features: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        """The map and the flow behind it.

        Raises:
            SettingError: there are not so many channels.
        """
        if features.shape[1] != channels + self.flow_channels:
            raise SettingError(
                f'{type(self).__name__} expects {channels} + {self.flow_channels} channels, as '
                f'FlowTemporalNeck gives them, got {features.shape[1]}'
            )
        return features.split([channels, self.flow_channels], dim=1)

    @abstractmethod
    def fuse(self, features: Tensor, kinds: Tensor, seen: Tensor, delays: Tensor) -> Tensor:
        """Fuse aligned maps.

        Args:
            features: (B, N, C, H, W), ego first, padded with agents that have seen nothing.
            kinds: (B, N) int64.
            seen: bool, broadcastable to (B, N, 1, H, W): which cells an agent says anything of.
            delays: (B, N) s.

        Returns:
            (B, C, H, W).
        """
