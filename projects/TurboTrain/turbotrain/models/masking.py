"""Hiding parts of point clouds from a network that is to reconstruct them."""

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

__all__ = ['BEVCellMasking']

_CELLS = 1 << 20  # cells per axis that a key has room for: far beyond any LiDAR's reach


@MODELS.register_module()
class BEVCellMasking(nn.Module):
    """Hide a share of the occupied bird's-eye-view cells of each cloud.

    The points of hidden cells are taken out before anything is encoded. Neither their coordinates
    nor the fact that something was there can reach the encoder, and what is not encoded costs
    nothing. (CooPre and BEV-MAE leave masked voxels in place with a learned token, which tells the
    encoder where they are.)

    Args:
        ratio: share of the occupied cells of each cloud that is hidden; 0.7 as in CooPre and
            BEV-MAE (TurboTrain's is not public). Cells are drawn independently for each agent and
            frame (our choice).
        cell_size: edge of a cell, metres; 0.8 as in CooPre.
    """

    def __init__(self, ratio: float = 0.7, cell_size: float = 0.8) -> None:
        super().__init__()
        if not 0 <= ratio <= 1:
            raise ValueError(f'ratio must be from 0 to 1, got {ratio}')
        if cell_size <= 0:
            raise ValueError(f'cell_size must be above 0 m, got {cell_size}')
        self.ratio = ratio
        self.cell_size = cell_size

    def forward(self, clouds: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Draw and hide.

        Args:
            clouds: K tensors (P_k, 3+) of x, y, z (m), ...

        Returns:
            visible: K tensors (V_k, 3+), what is left of each cloud.
            hidden: K bool tensors (P_k,), true for the points that were taken out.
        """
        counts = [len(cloud) for cloud in clouds]
        points = torch.cat(clouds)
        device = points.device
        cloud = torch.repeat_interleave(
            torch.tensor(counts, device=device), output_size=len(points)
        )
        cell = (points[:, :2] / self.cell_size).floor().long() + _CELLS // 2
        key = (cloud * _CELLS + cell[:, 1]) * _CELLS + cell[:, 0]
        cells, of_point = torch.unique(key, return_inverse=True)

        # Rank the cells of each cloud in random order; the first share of them is hidden.
        owner = cells // (_CELLS * _CELLS)
        order = torch.argsort(owner + torch.rand(len(cells), device=device, dtype=torch.float64))
        occupied = torch.bincount(owner, minlength=len(clouds))
        start = occupied.cumsum(0) - occupied
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=device) - start[owner[order]]
        hidden = (rank < (occupied * self.ratio).floor()[owner])[of_point]

        visible = points[~hidden]
        kept = torch.bincount(cloud[~hidden], minlength=len(clouds)).tolist()
        return list(visible.split(kept)), list(hidden.split(counts))
