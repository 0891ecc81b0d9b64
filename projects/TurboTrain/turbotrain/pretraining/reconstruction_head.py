"""The decoder of masked-reconstruction pretraining."""

from dataclasses import dataclass

import torch
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from ..errors import SettingError
from ..models.layers.map_layers import MAP_NORM
from ..models.warping import cells_at
from .chamfer import NORMS, chamfer_distance, group_by_cell
from .ground import ground_grid, heights_above_ground

__all__ = ['MaskedReconstructionHead', 'ReconstructionTarget']


@dataclass(frozen=True)
class ReconstructionTarget:
    """What B maps are to reconstruct.

    Attributes:
        clouds: B tensors (P_b, 3+), metres, in the frame of each map.
        hidden: B bool tensors (P_b,), which points the network has not seen. A cell of which any
            point is hidden is reconstructed as a whole.
        hidden_cells: (B, H, W) bool, where something was hidden, be there points or not; there the
            network learns which cells are occupied.
    """

    clouds: list[Tensor]
    hidden: list[Tensor]
    hidden_cells: Tensor


@MODELS.register_module()
class MaskedReconstructionHead(BaseModule):
    """Predict which hidden cells are occupied, the points they hold, and how many these are.

    3x3 convolutions, then for each cell a linear layer to whether it is occupied, one to
    ``num_points`` points and one to their number. A point is predicted relative to its cell: x and
    y as offsets from the cell's centre in cells, z from the middle of the range in heights of it.

    Source: CooPre (arXiv 2408.11241) and BEV-MAE; TurboTrain's own decoder is not public. That
    z counts from the middle of the range, that the number is the plain count of points up to
    ``max_targets`` (there, points in voxels of at most 5), and the occupancy are our choice.

    Args:
        in_channels: C.
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.
        feat_channels: channels of the convolutions.
        num_convs: how many there are; 1 as in CooPre. With more, what only serves to reconstruct is
            learnt here rather than in the end of the trunk, which is kept (our choice).
        num_points: predicted points of a cell; 20 as in CooPre.
        max_targets: true points of a cell that are compared with; 64 as in CooPre's config.
        norm: of the Chamfer distance, ``l1`` (as in CooPre) or ``l2``, see
            :func:`~.chamfer.chamfer_distance`.
        chamfer_weight: of ``loss_chamfer``; 1 as in both.
        density_weight: of ``loss_density``; 1 as in BEV-MAE (0 in CooPre).
        occupancy_weight: of ``loss_occupancy`` (our choice). Occupied and empty hidden cells count
            half each, however rare one kind is.
        ground_margin: metres; what is no higher above the local ground is not asked for, and cells
            without anything higher count as empty (ours). None asks for everything.
        norm_cfg: mmcv's config of the normalisation layers.

    Raises:
        SettingError: the norm is not among the known ones, a number is below 1, or the margin is
            not above 0.
    """

    limits: Tensor

    def __init__(
        self,
        in_channels: int,
        point_cloud_range: list[float],
        feat_channels: int = 128,
        num_convs: int = 1,
        num_points: int = 20,
        max_targets: int = 64,
        norm: str = 'l1',
        chamfer_weight: float = 1.0,
        density_weight: float = 1.0,
        occupancy_weight: float = 1.0,
        ground_margin: float | None = None,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if norm not in NORMS:
            raise SettingError(f'norm must be one of {NORMS}, got {norm!r}')
        if min(num_convs, num_points, max_targets) < 1:
            raise SettingError(
                'num_convs, num_points and max_targets must be at least 1, got '
                f'{num_convs}, {num_points} and {max_targets}'
            )
        if ground_margin is not None and ground_margin <= 0:
            raise SettingError(f'ground_margin must be above 0 m, got {ground_margin}')
        self.num_points = num_points
        self.max_targets = max_targets
        self.norm = norm
        self.chamfer_weight = chamfer_weight
        self.density_weight = density_weight
        self.occupancy_weight = occupancy_weight
        self.ground_margin = ground_margin
        self.ground_grid = ground_grid(point_cloud_range)
        limits = torch.tensor(point_cloud_range, dtype=torch.float32)
        self.register_buffer('limits', limits, persistent=False)
        norm_cfg = norm_cfg or MAP_NORM
        self.convs = nn.Sequential(
            *(
                ConvModule(channels, feat_channels, 3, padding=1, bias=False, norm_cfg=norm_cfg)
                for channels in (in_channels, *[feat_channels] * (num_convs - 1))
            )
        )
        self.coordinates = nn.Linear(feat_channels, 3 * num_points)
        self.density = nn.Linear(feat_channels, 1)
        self.occupancy = nn.Linear(feat_channels, 1)

    def forward(self, bev: Tensor) -> tuple[Tensor, Tensor]:
        """Decode a map.

        Args:
            bev: (B, C, H, W).

        Returns:
            features: (B * H * W, feat_channels), to be given to :meth:`contents`.
            occupancy: (B, H, W), logits.
        """
        features = self.convs(bev).permute(0, 2, 3, 1)
        return features.flatten(0, 2), self.occupancy(features)[..., 0]

    def contents(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What cells hold.

        Args:
            features: (R, feat_channels).

        Returns:
            points: (R, num_points, 3) relative to each cell, in cells and heights of the range.
            density: (R,) number of points over ``max_targets``.
        """
        points = self.coordinates(features).unflatten(1, (self.num_points, 3))
        return points, self.density(features)[:, 0]

    def loss(self, bev: Tensor, target: ReconstructionTarget) -> dict[str, Tensor]:
        """Compare hidden cells with what is truly there.

        Args:
            bev: (B, C, H, W), encoded from what was left visible.
            target: what is there.

        Returns:
            ``loss_chamfer``, ``loss_density`` and ``loss_occupancy``, scalars.
        """
        features, occupancy = self(bev)
        cells, occupied, true_points, counts = self._cells(target, (bev.shape[2], bev.shape[3]))
        points, density = self.contents(features[cells])
        counts = counts.clamp(max=self.max_targets)
        scaled = counts.to(density.dtype) / self.max_targets
        density_loss = functional.smooth_l1_loss(density, scaled, reduction='sum')
        # Distances in half precision would be coarser than what is learned.
        chamfer_loss = chamfer_distance(points.float(), true_points, counts, self.norm)
        empty = target.hidden_cells.flatten() & ~occupied
        return dict(
            loss_chamfer=self.chamfer_weight * chamfer_loss,
            loss_density=self.density_weight * density_loss / max(len(cells), 1),
            loss_occupancy=self.occupancy_weight
            * _occupancy_loss(occupancy.float().flatten(), cells, empty),
        )

    @torch.no_grad()
    def reconstruct(self, bev: Tensor, hidden_cells: Tensor) -> list[Tensor]:
        """What the head believes to be in the hidden cells, with no look at what is.

        Args:
            bev: (B, C, H, W).
            hidden_cells: (B, H, W) bool.

        Returns:
            B tensors (P_b, 3), metres: of each cell that is rather occupied than not as many points
            as it is thought to hold, 1 to ``num_points``, a random choice of those predicted.
        """
        features, occupancy = self(bev)
        batch, height, width = hidden_cells.shape
        cells = ((occupancy > 0) & hidden_cells).flatten().nonzero()[:, 0]
        points, density = self.contents(features[cells])
        points = points.float()
        size = self._cell_size(height, width)
        place = torch.stack([cells % width, cells // width % height], dim=1) + 0.5
        metres = torch.empty_like(points)
        metres[..., :2] = (points[..., :2] + place[:, None]) * size[:2] + self.limits[:2]
        metres[..., 2] = points[..., 2] * size[2] + (self.limits[2] + self.limits[5]) / 2
        rank = torch.rand(points.shape[:2], device=points.device).argsort(dim=1)
        keep = rank < (density[:, None] * self.max_targets).round().clamp(min=1)
        sample = (cells // (height * width))[:, None].expand_as(keep)[keep]
        return list(metres[keep].split(torch.bincount(sample, minlength=batch).tolist()))

    def truth(self, target: ReconstructionTarget) -> list[Tensor]:
        """B tensors (P_b, 3): the hidden points that :meth:`loss` asks for, metres."""
        points, hidden, sample = self._asked_for(target)
        counts = torch.bincount(sample[hidden], minlength=len(target.clouds))
        return list(points[hidden].split(counts.tolist()))

    def _asked_for(self, target: ReconstructionTarget) -> tuple[Tensor, Tensor, Tensor]:
        """Points in range and above the ground: (P, 3), whether hidden (P,), of which map (P,)."""
        points = torch.cat([cloud[:, :3] for cloud in target.clouds])
        hidden = torch.cat(target.hidden)
        lengths = torch.tensor([len(cloud) for cloud in target.clouds], device=points.device)
        sample = torch.repeat_interleave(lengths, output_size=len(points))

        # Indices instead of masks: a GPU has to be waited for each time that a mask picks.
        inside = ((points > self.limits[:3]) & (points < self.limits[3:])).all(dim=1)
        picked = inside.nonzero()[:, 0]
        points, hidden, sample = points[picked], hidden[picked], sample[picked]
        if self.ground_margin is None:
            return points, hidden, sample
        grid = (len(lengths), *self.ground_grid)
        heights = heights_above_ground(points, sample, self.limits, grid)
        picked = (heights > self.ground_margin).nonzero()[:, 0]
        return points[picked], hidden[picked], sample[picked]

    def _cell_size(self, height: int, width: int) -> Tensor:
        """(3,) metres."""
        return (self.limits[3:] - self.limits[:3]) / self.limits.new_tensor([width, height, 1])

    def _cells(
        self, target: ReconstructionTarget, shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The hidden cells that are occupied, and what they hold.

        Returns:
            cells: (R,) int64, ``(sample * H + row) * W + column``.
            occupied: (B * H * W,) bool, hidden or not.
            points: (R, max_targets, 3) relative to the cells, filled from the left.
            counts: (R,) how many there are, without that limit.
        """
        height, width = shape
        points, hidden, sample = self._asked_for(target)
        low, high = self.limits[2], self.limits[5]
        cell, offset = cells_at(points, sample, self.limits, height, width)

        occupied = torch.zeros(
            len(target.clouds) * height * width, dtype=torch.bool, device=cell.device
        )
        masked = occupied.clone()
        occupied[cell] = True
        masked[cell[hidden]] = True
        keep = masked[cell].nonzero()[:, 0]
        cells, index = torch.unique(cell[keep], return_inverse=True)
        offset_z = (points[keep, 2:3] - (low + high) / 2) / (high - low)
        relative = torch.cat([offset[keep], offset_z], dim=1)
        rows, counts = group_by_cell(relative, index, self.max_targets)
        return cells, occupied, rows, counts


def _occupancy_loss(logits: Tensor, occupied: Tensor, empty: Tensor) -> Tensor:
    """Mean cross entropy of the cells ``occupied`` (R,), and of those ``empty`` (a mask)."""
    there = functional.softplus(-logits[occupied]).sum() / max(len(occupied), 1)
    nothing = (functional.softplus(logits) * empty).sum() / empty.sum().clamp(min=1)
    return (there + nothing) / 2
