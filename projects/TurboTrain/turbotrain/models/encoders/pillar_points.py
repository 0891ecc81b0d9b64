"""What pillar encoders have in common: points described by their pillars."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import SettingError

__all__ = ['PillarPoints']

_POINT_FEATURES = 9


class PillarPoints(BaseModule):
    """The points of a batch of clouds, described, encoded one by one, and numbered by pillar.

    Each point is described by its offset from the pillar's centre (in half pillars), its position
    (in halves of the range), its intensity, and its offset from the mean of the pillar's points;
    two linear layers follow. All clouds of a batch go through at once.

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
        """Describe and encode.

        Args:
            clouds: K tensors (P_k, 4) of x, y, z (m), intensity; P_k may be 0.

        Returns:
            features: (sum P, channels).
            pillar: (sum P,) int64 ``(cloud * H + row) * W + column``; K * H * W for points outside,
                which spares a wait for their number.
        """
        width, height = self.grid
        points = torch.cat(clouds)
        counts = torch.tensor([len(cloud) for cloud in clouds], device=points.device)
        cloud = torch.repeat_interleave(counts, output_size=len(points))

        xyz = points[:, :3]
        inside = ((xyz > self.low) & (xyz < self.high)).all(dim=1)
        cell = ((xyz[:, :2] - self.low[:2]) / self.size).floor()
        # A point a rounding error below the upper border belongs to the last pillar.
        column = cell[:, 0].long().clamp(max=width - 1)
        row = cell[:, 1].long().clamp(max=height - 1)
        pillars = len(clouds) * height * width
        pillar = torch.where(inside, (cloud * height + row) * width + column, pillars)
        return self.layers(self._describe(points, cell, pillar, pillars)), pillar

    def _describe(self, points: Tensor, cell: Tensor, pillar: Tensor, pillars: int) -> Tensor:
        """(P, 9) features of the points, each within about [-1, 1]."""
        half = self.size / 2
        middle = (self.low + self.high) / 2
        centre = self.low[:2] + (cell + 0.5) * self.size
        offset = ((points[:, :2] - centre) / half).clamp(-2, 2)
        position = ((points[:, :3] - middle) / (self.high - middle)).clamp(-2, 2)
        local = torch.cat([offset, position[:, 2:]], dim=1)

        ones = points.new_ones(len(points), 1)
        sums = points.new_zeros(pillars + 1, 4).index_add(0, pillar, torch.cat([local, ones], 1))
        mean = sums[:, :3] / sums[:, 3:].clamp(min=1)
        return torch.cat([offset, position, points[:, 3:4], local - mean[pillar]], dim=1)
