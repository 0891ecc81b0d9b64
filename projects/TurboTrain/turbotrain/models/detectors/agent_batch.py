"""Who the maps of a batch are of."""

import numpy as np
import torch
from torch import Tensor

from ...structures import Agents

__all__ = ['AgentBatch']


class AgentBatch:
    """The agents of all samples of a batch, side by side, as tensors beside the maps."""

    def __init__(self, agents: list[Agents], maps: Tensor) -> None:
        def stack(arrays: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.concatenate(arrays)).to(maps.device, non_blocking=True)

        self.points_in_ego = agents[0].points_in_ego
        times = [np.tile(a.time_offsets, (len(a), 1)) for a in agents]
        self.time_offsets = stack(times).to(maps.dtype)
        self.valid = stack([a.valid for a in agents])
        self.num_agents = [len(a) for a in agents]
        self.is_ego = stack([np.arange(len(a)) == 0 for a in agents])
        self.kinds = stack([a.kinds for a in agents])
        self.delays = stack([a.delays for a in agents]).to(maps.dtype)
        self.current_from_frame = stack([a.current_from_frame for a in agents])
        self.ego_from_agent = stack([a.ego_from_agent for a in agents])
