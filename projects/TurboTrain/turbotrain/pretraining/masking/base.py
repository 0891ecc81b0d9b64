"""What all ways of masking share: whose clouds these are, where is hidden, and taking it out."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...structures import Agents

__all__ = ['BaseMasking', 'CloudLayout', 'HiddenCells', 'MaskedClouds']


@dataclass(frozen=True)
class CloudLayout:
    """Whose and of when the K clouds of a batch are.

    Attributes:
        sample: (K,) int64, the sample of the batch that each cloud is of.
        frame: (K,) int64, its place in time, the last is the current one.
        num_samples: B.
        num_frames: T, the same for all samples.
        ego_from_points: (K, 4, 4) float32, metres, from the frame a cloud's points are in to the
            ego's current one; None where they are in that already.
    """

    sample: Tensor
    frame: Tensor
    num_samples: int
    num_frames: int = 1
    ego_from_points: Tensor | None = None

    @classmethod
    def of_agents(cls, records: Sequence[Agents], device: torch.device) -> 'CloudLayout':
        """The layout of samples of N_i agents x T frames, agent-major."""
        frames = records[0].num_frames
        sizes = np.array([len(record) for record in records])

        def to_device(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(device)

        moved = None
        if not records[0].points_in_ego:
            moved = np.concatenate([r.ego_from_agent.reshape(-1, 4, 4) for r in records])
            moved = to_device(moved.astype(np.float32))
        return cls(
            sample=to_device(np.repeat(np.arange(len(records)), sizes * frames)),
            frame=to_device(np.tile(np.arange(frames), sizes.sum())),
            num_samples=len(records),
            num_frames=frames,
            ego_from_points=moved,
        )

    @classmethod
    def of_single_clouds(cls, count: int, device: torch.device) -> 'CloudLayout':
        """The layout of ``count`` samples of one agent and one frame."""
        zero = torch.zeros(count, dtype=torch.int64, device=device)
        return cls(torch.arange(count, device=device), zero, num_samples=count)

    def to_ego(self, clouds: Sequence[Tensor]) -> list[Tensor]:
        """K clouds (P_k, 3+) to (P_k, 3), metres, in the ego's current frame."""
        if self.ego_from_points is None:
            return [points[:, :3] for points in clouds]
        # Half precision would round metres to centimetres.
        with torch.autocast(self.sample.device.type, enabled=False):
            return [
                points[:, :3].float() @ matrix[:3, :3].T + matrix[:3, 3]
                for points, matrix in zip(clouds, self.ego_from_points, strict=True)
            ]


@dataclass(frozen=True)
class HiddenCells:
    """A grid of cells for each cloud; those at the border reach on without end.

    Attributes:
        hidden: (K, rows, columns) bool; rows run along y, columns along x.
        corner: (2,) x and y of the first cell's lower corner, metres.
        size: (2,) of a cell, metres.
    """

    hidden: Tensor
    corner: Tensor
    size: Tensor

    def at(self, xy: Tensor, cloud: Tensor) -> Tensor:
        """Whether places are hidden.

        Args:
            xy: (P, 2) metres, ego frame; NaN counts as the first row or column.
            cloud: (P,) int64, from which cloud.

        Returns:
            (P,) bool.
        """
        place = ((xy - self.corner) / self.size).floor().nan_to_num(0)
        rows, columns = self.hidden.shape[1:]
        column = place[:, 0].clamp(0, columns - 1).long()
        row = place[:, 1].clamp(0, rows - 1).long()
        return self.hidden[cloud, row, column]


class MaskedClouds(NamedTuple):
    """What masking makes of K clouds (P_k, 3+)."""

    visible: list[Tensor]
    """K tensors (V_k, 3+), what is left of each cloud."""
    hidden: list[Tensor]
    """K bool tensors (P_k,), true for the points that were taken out."""
    in_ego: list[Tensor]
    """K tensors (P_k, 3), all points in the ego's current frame, metres."""
    region: HiddenCells
    """Where something was hidden, be there points or not."""


class BaseMasking(nn.Module, metaclass=ABCMeta):
    """Draw places, and take the points there out before anything is encoded.

    The draw never looks at the points, and empty places are drawn like occupied ones. So nothing of
    what is hidden, neither coordinates nor the fact that something was there, can reach an encoder
    that gets the visible points, nor one that is also told the places that were drawn. (CooPre and
    BEV-MAE draw among the occupied cells and leave masked voxels in place with a learned token,
    which tells the encoder where something is.)

    Places are compared in the ego's current frame, whatever frame the points are in: the same cell
    is the same piece of the world for all agents and frames.

    Args:
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres, ego frame, where
            cells are drawn; what lies outside shares the fate of the border's cells.
    """

    corner: Tensor
    span: Tensor

    def __init__(self, point_cloud_range: Sequence[float]) -> None:
        super().__init__()
        limits = torch.tensor(point_cloud_range, dtype=torch.float32)
        self.register_buffer('corner', limits[:2], persistent=False)
        self.register_buffer('span', limits[3:5] - limits[:2], persistent=False)

    @abstractmethod
    def draw(self, layout: CloudLayout) -> HiddenCells:
        """Draw what is hidden from each cloud."""

    def forward(self, clouds: Sequence[Tensor], layout: CloudLayout | None = None) -> MaskedClouds:
        """Draw and hide.

        Args:
            clouds: K tensors (P_k, 3+) of x, y, z (m), ...
            layout: whose they are; None takes each as a sample of its own.
        """
        counts = [len(cloud) for cloud in clouds]
        points = torch.cat(list(clouds))
        layout = layout or CloudLayout.of_single_clouds(len(clouds), points.device)
        cloud = torch.repeat_interleave(
            torch.tensor(counts, device=points.device), output_size=len(points)
        )
        region = self.draw(layout)
        in_ego = layout.to_ego(clouds)
        hidden = region.at(torch.cat(in_ego)[:, :2], cloud)
        kept = torch.bincount(cloud[~hidden], minlength=len(counts)).tolist()
        visible = points[~hidden].split(kept)
        return MaskedClouds(list(visible), list(hidden.split(counts)), in_ego, region)
