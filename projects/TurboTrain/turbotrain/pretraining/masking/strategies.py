"""The ways of masking: cells drawn for each cloud, or the same cells for everybody."""

from collections.abc import Sequence

import torch
from mmdet3d.registry import MODELS
from torch import Tensor

from ...errors import SettingError
from .base import BaseMasking, CloudLayout, HiddenCells

__all__ = ['BEVCellCoMasking', 'BEVCellMasking']

_FRAMES = ('all', 'current')


@MODELS.register_module()
class BEVCellMasking(BaseMasking):
    """Hide bird's-eye-view cells, drawn for each agent and frame by itself.

    What one agent or frame has lost another may still see: the network learns to copy between
    them, which is what fusion is for.

    Args:
        point_cloud_range: see :class:`BaseMasking`.
        ratio: chance of each cell to be hidden; 0.7 as in CooPre and BEV-MAE (TurboTrain's is not
            public; there a share of the occupied cells, which this is on average).
        cell_size: edge of a cell, metres; 0.8 as in CooPre.

    Raises:
        SettingError: the ratio is not within 0 and 1, or the cell size not above 0.
    """

    def __init__(
        self, point_cloud_range: Sequence[float], ratio: float = 0.7, cell_size: float = 0.8
    ) -> None:
        super().__init__(point_cloud_range)
        if cell_size <= 0:
            raise SettingError(f'cell_size must be above 0 m, got {cell_size}')
        self.ratio = _checked(ratio)
        self.cell_size = cell_size
        # A range that is no multiple of the cell, but for rounding, ends in part of a cell.
        cells = (self.span / cell_size - 1e-4).ceil().clamp(min=1)
        self.columns, self.rows = cells.int().tolist()

    def draw(self, layout: CloudLayout) -> HiddenCells:
        """A grid of its own for each cloud."""
        return self._cells(self._grids(len(layout.sample)))

    def _grids(self, count: int) -> Tensor:
        chance = torch.rand(count, self.rows, self.columns, device=self.corner.device)
        return chance < self.ratio

    def _cells(self, hidden: Tensor) -> HiddenCells:
        return HiddenCells(hidden, self.corner, torch.full_like(self.corner, self.cell_size))


@MODELS.register_module()
class BEVCellCoMasking(BEVCellMasking):
    """Hide the same bird's-eye-view cells of the world from every agent of a sample. Ours.

    Nothing of a hidden cell can be copied from a neighbour: it has to be inferred from what
    surrounds it and, where past frames are whole, from what moved there.

    Args:
        point_cloud_range: see :class:`BaseMasking`.
        ratio: see :class:`BEVCellMasking`.
        cell_size: see :class:`BEVCellMasking`.
        frames: ``all`` hides the same cells from every frame, ``current`` from the current one
            alone, which of samples of one frame is the same.

    Raises:
        SettingError: see :class:`BEVCellMasking`, or the frames are not among the known ones.
    """

    def __init__(
        self,
        point_cloud_range: Sequence[float],
        ratio: float = 0.7,
        cell_size: float = 0.8,
        frames: str = 'all',
    ) -> None:
        super().__init__(point_cloud_range, ratio, cell_size)
        if frames not in _FRAMES:
            raise SettingError(f'frames must be one of {_FRAMES}, got {frames!r}')
        self.frames = frames

    def draw(self, layout: CloudLayout) -> HiddenCells:
        """One grid for each sample."""
        hidden = self._grids(layout.num_samples)[layout.sample]
        if self.frames == 'current':
            hidden &= (layout.frame == layout.num_frames - 1)[:, None, None]
        return self._cells(hidden)


def _checked(ratio: float) -> float:
    if not 0 <= ratio <= 1:
        raise SettingError(f'ratio must be from 0 to 1, got {ratio}')
    return ratio
