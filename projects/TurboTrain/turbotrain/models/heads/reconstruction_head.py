"""The decoder of masked-reconstruction pretraining."""

import torch
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

__all__ = ['MaskedReconstructionHead', 'chamfer_l1', 'group_by_cell']


def group_by_cell(points: Tensor, index: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gather the points of each cell into rows, without a loop.

    Args:
        points: (P, D).
        index: (P,) int64 number of each point's cell, from 0 to R - 1, each at least once.
        limit: at most this many points of a cell, a random choice of them.

    Returns:
        rows: (R, limit, D), filled up with 0.
        mask: (R, limit) bool.
        counts: (R,) how many points each cell has, without the limit.
    """
    shuffled = torch.randperm(len(points), device=points.device)
    order = shuffled[torch.argsort(index[shuffled], stable=True)]
    sorted_index = index[order]
    counts = torch.bincount(index)
    start = counts.cumsum(0) - counts
    rank = torch.arange(len(points), device=points.device) - start[sorted_index]
    # Points beyond the limit all land in a spare column.
    column = rank.clamp(max=limit)
    rows = points.new_zeros(len(counts), limit + 1, points.shape[1])
    rows[sorted_index, column] = points[order]
    mask = torch.arange(limit, device=points.device) < counts[:, None]
    return rows[:, :limit], mask, counts


def chamfer_l1(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    r"""Chamfer distance of point sets under the L1 norm, averaged over R cells.

    .. math:: \frac1R \sum_r \Big[ \frac1N \sum_i \min_j |p_{ri} - t_{rj}|_1
              + \frac{1}{M_r} \sum_j \min_i |p_{ri} - t_{rj}|_1 \Big]

    The second mean is over each cell's points, where BEV-MAE takes it over the points of all cells
    (our choice: full cells do not outvote sparse ones).

    Args:
        predicted: (R, N, 3).
        target: (R, M, 3).
        mask: (R, M) bool, which targets are there; at least one in each row.

    Returns:
        Scalar; 0 for no cells.
    """
    distance = (predicted[:, :, None] - target[:, None]).abs().sum(dim=-1)
    to_target = distance.masked_fill(~mask[:, None], torch.inf).amin(dim=2).mean(dim=1)
    to_predicted = (distance.amin(dim=1) * mask).sum(dim=1) / mask.sum(dim=1)
    return (to_target + to_predicted).sum() / max(len(predicted), 1)


@MODELS.register_module()
class MaskedReconstructionHead(BaseModule):
    """Predict the points that hidden cells of the ego's map hold, and how many they are.

    A 3x3 convolution, then for each hidden cell a linear layer to ``num_points`` points and one to
    their number. A point is predicted relative to its cell: x and y as offsets from the cell's
    centre in cells, z from the middle of the range in heights of the range.

    Source: CooPre (arXiv 2408.11241) and BEV-MAE; TurboTrain's own decoder is not public. That
    z counts from the middle of the range, and that the number is the plain count of points up to
    ``max_targets`` (there, points in voxels of at most 5), are our choice.

    Args:
        in_channels: C.
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.
        feat_channels: channels of the convolution.
        num_points: predicted points of a cell; 20 as in CooPre.
        max_targets: true points of a cell that are compared with; 64 as in CooPre's config.
        chamfer_weight: of ``loss_chamfer``; 1 as in both.
        density_weight: of ``loss_density``; 1 as in BEV-MAE (0 in CooPre).
        norm_cfg: normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        point_cloud_range: list[float],
        feat_channels: int = 128,
        num_points: int = 20,
        max_targets: int = 64,
        chamfer_weight: float = 1.0,
        density_weight: float = 1.0,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_points = num_points
        self.max_targets = max_targets
        self.chamfer_weight = chamfer_weight
        self.density_weight = density_weight
        limits = torch.tensor(point_cloud_range, dtype=torch.float32)
        self.register_buffer('limits', limits, persistent=False)
        norm_cfg = norm_cfg or dict(type='BN2d', eps=1e-3, momentum=0.01)
        self.conv = ConvModule(
            in_channels, feat_channels, 3, padding=1, bias=False, norm_cfg=norm_cfg
        )
        self.coordinates = nn.Linear(feat_channels, 3 * num_points)
        self.density = nn.Linear(feat_channels, 1)

    def forward(self, bev: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Decode some cells.

        Args:
            bev: (B, C, H, W).
            cells: (R,) int64, ``(sample * H + row) * W + column``.

        Returns:
            points: (R, num_points, 3) relative to each cell, in cells and heights of the range.
            density: (R,) number of points over ``max_targets``.
        """
        features = self.conv(bev).permute(0, 2, 3, 1).flatten(0, 2)[cells]
        points = self.coordinates(features).unflatten(1, (self.num_points, 3))
        return points, self.density(features)[:, 0]

    def loss(self, bev: Tensor, clouds: list[Tensor], hidden: list[Tensor]) -> dict[str, Tensor]:
        """Compare hidden cells with what is truly there.

        A cell counts as hidden if at least one point of it was; its target is all its points.

        Args:
            bev: (B, C, H, W), encoded from what was left visible.
            clouds: B tensors (P_b, 3+), the merged current clouds in the ego's frame, metres.
            hidden: B bool tensors (P_b,).

        Returns:
            ``loss_chamfer`` and ``loss_density``, scalars.
        """
        relative, cells, counts = self._targets(bev, clouds, hidden)
        target, mask = relative
        points, density = self(bev, cells)
        scaled = counts.clamp(max=self.max_targets).to(density.dtype) / self.max_targets
        density_loss = functional.smooth_l1_loss(density, scaled, reduction='sum')
        return dict(
            loss_chamfer=self.chamfer_weight * chamfer_l1(points, target, mask),
            loss_density=self.density_weight * density_loss / max(len(cells), 1),
        )

    def _targets(
        self, bev: Tensor, clouds: list[Tensor], hidden: list[Tensor]
    ) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
        """Points of the hidden cells relative to them, with their mask, cells and counts."""
        height, width = bev.shape[2:]
        low, high = self.limits[:3], self.limits[3:]
        size = (high[:2] - low[:2]) / low.new_tensor([width, height])
        points = torch.cat([cloud[:, :3] for cloud in clouds])
        taken = torch.cat(hidden)
        lengths = torch.tensor([len(cloud) for cloud in clouds], device=points.device)
        sample = torch.repeat_interleave(lengths, output_size=len(points))

        inside = ((points > low) & (points < high)).all(dim=1)
        points, taken, sample = points[inside], taken[inside], sample[inside]
        position = ((points[:, :2] - low[:2]) / size).floor()
        # A point a rounding error below the upper border belongs to the last cell.
        column = position[:, 0].long().clamp(max=width - 1)
        row = position[:, 1].long().clamp(max=height - 1)
        cell = (sample * height + row) * width + column

        masked = torch.zeros(len(clouds) * height * width, dtype=torch.bool, device=cell.device)
        masked[cell[taken]] = True
        keep = masked[cell]
        points, cell = points[keep], cell[keep]
        cells, index = torch.unique(cell, return_inverse=True)
        centre = torch.stack([cell % width, cell // width % height], dim=1) + 0.5
        offset_xy = (points[:, :2] - low[:2]) / size - centre
        offset_z = (points[:, 2:] - (low[2] + high[2]) / 2) / (high[2] - low[2])
        relative = torch.cat([offset_xy, offset_z], dim=1)
        rows, mask, counts = group_by_cell(relative, index, self.max_targets)
        return (rows, mask), cells, counts
