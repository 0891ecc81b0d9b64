"""What pillar encoders have in common: points described by their pillars."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from ...errors import SettingError

__all__ = ['PillarPoints']

_POINT_FEATURES = 9
_MAXIMUM = 2  # embedding_bag's mode


class PillarPoints(BaseModule):
    """The points of a batch of clouds, described, encoded one by one, and pooled by pillar.

    Each point is described by its offset from the pillar's centre (in half pillars), its position
    (in halves of the range), its intensity, and its offset from the mean of the pillar's points;
    two linear layers follow, then a maximum over the points of a pillar. All clouds of a batch go
    through at once.

    Source: PointPillars (Lang et al., CVPR 2019), less its cap on points and pillars and its batch
    norm (our choice: nothing here depends on how many points a batch has, be it none).

    Args:
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.
        pillar_size: ``[x, y]``, metres.
        channels: of a point's feature.
    """

    def __init__(
        self,
        point_cloud_range: list[float],
        pillar_size: list[float],
        channels: int,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        low, high = point_cloud_range[:3], point_cloud_range[3:]
        self.grid = [round((high[i] - low[i]) / pillar_size[i]) for i in (0, 1)]
        for i, axis in enumerate('xy'):
            if abs(self.grid[i] * pillar_size[i] - (high[i] - low[i])) > 1e-3:
                raise SettingError(
                    f'point_cloud_range spans {high[i] - low[i]:g} m in {axis}, which is no '
                    f'multiple of the pillar size {pillar_size[i]:g} m'
                )
        for name, value in (('low', low), ('high', high), ('size', pillar_size)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(_POINT_FEATURES, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, clouds: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Describe, encode, and take the maximum of each pillar.

        Args:
            clouds: K tensors (P_k, 4) of x, y, z (m), intensity; P_k may be 0. Points whose place
                is NaN or infinite count as outside.

        Returns:
            features: (Q, channels) of the pillars that hold points.
            pillar: (Q,) int64 ``(cloud * H + row) * W + column``, ascending; the last is K * H * W
                if there are points outside, which spares a wait for their number.
        """
        width, height = self.grid
        # A row for each coordinate: what is done to one of them runs along the points.
        points = torch.cat(clouds).T.contiguous()
        counts = torch.tensor([len(cloud) for cloud in clouds], device=points.device)
        cloud = torch.repeat_interleave(counts, output_size=points.shape[1])

        inside = ((points[:3] > self.low[:, None]) & (points[:3] < self.high[:, None])).all(dim=0)
        # What is outside goes through the layers, too, and a gradient of 0 times NaN is NaN.
        points = torch.where(inside, points, 0)
        # A point a rounding error below the upper border belongs to the last pillar.
        column, row = (
            cell.long().clamp(max=cells - 1)
            for cell, cells in zip(self._cells(points), self.grid, strict=True)
        )
        pillar = (cloud * height + row) * width + column
        pillar = torch.where(inside, pillar, len(clouds) * height * width)

        # The points of a pillar side by side serve its mean and its maximum.
        pillar, order = pillar.sort(stable=True)
        occupied, group, sizes = torch.unique_consecutive(
            pillar, return_inverse=True, return_counts=True
        )
        begin = sizes.cumsum(0) - sizes
        first, relu, second, last = self.layers
        description = self._describe(points.index_select(1, order), group, begin)
        # As nn.Linear, whose gradient for the weights is slow where there are so few columns.
        hidden = relu(torch.addmm(first.bias, description.T, first.weight.T.contiguous()))
        # ReLU rises, so that it may follow the maximum, on fewer rows.
        return last(_highest(second(hidden), begin)), occupied

    def _cells(self, points: Tensor) -> Tensor:
        """(2, P) column and row of points (4, P), as real numbers without a fraction."""
        return ((points[:2] - self.low[:2, None]) / self.size[:, None]).floor()

    def _describe(self, points: Tensor, group: Tensor, begin: Tensor) -> Tensor:
        """(9, P) features of the points (4, P), each within about [-1, 1]."""
        half = self.size[:, None] / 2
        low, high = self.low[:, None], self.high[:, None]
        middle = (low + high) / 2
        centre = low[:2] + (self._cells(points) + 0.5) * self.size[:, None]
        offset = ((points[:2] - centre) / half).clamp(-2, 2)
        position = ((points[:3] - middle) / (high - middle)).clamp(-2, 2)
        local = torch.cat([offset, position[2:]])
        place = torch.arange(len(group), device=group.device)
        mean = functional.embedding_bag(place, local.T.contiguous(), begin, mode='mean')
        return torch.cat([offset, position, points[3:4], local - mean.T[:, group]])


def _highest(values: Tensor, begin: Tensor) -> Tensor:
    """Maximum of each channel over groups of neighbouring rows.

    Args:
        values: (P, C).
        begin: (Q,) int64, the first row of each group, which ends where the next one begins.

    Returns:
        (Q, C). Its gradient goes to the highest alone, of equals to the first.
    """
    place = torch.arange(len(values), device=values.device)
    # torch's own gradient of this maximum goes through the channels one by one.
    highest = torch.embedding_bag(values.detach(), place, begin, mode=_MAXIMUM)[3]
    return values.gather(0, highest)
