"""The ways of masking: cells, the same cells for everybody, frames, agents, and mixtures."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmdet3d.registry import MODELS
from torch import Tensor

from ...errors import SettingError
from .base import BaseMasking, CloudLayout, HiddenCells, HiddenRegion

__all__ = [
    'BEVCellCoMasking',
    'BEVCellMasking',
    'MixedMasking',
    'WholeAgentMasking',
    'WholeFrameMasking',
]

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
        ValueError: the ratio is not within 0 and 1, or the cell size not above 0.
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

    def draw(self, layout: CloudLayout) -> HiddenRegion:
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
            alone.

    Raises:
        ValueError: see :class:`BEVCellMasking`, or the frames are not among the known ones.
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

    def draw(self, layout: CloudLayout) -> HiddenRegion:
        """One grid for each sample."""
        hidden = self._grids(layout.num_samples)[layout.sample]
        if self.frames == 'current':
            hidden &= (layout.frame == layout.num_frames - 1)[:, None, None]
        return self._cells(hidden)


@MODELS.register_module()
class WholeFrameMasking(BaseMasking):
    """Hide whole frames of all agents: what is there now has to be told from the past.

    The current frame is the first to go, as it is what has to be reconstructed; others follow at
    random. Ours.

    Args:
        point_cloud_range: see :class:`BaseMasking`.
        ratio: share of the frames, on average: 0.5 of three frames are one or two of them.

    Raises:
        ValueError: the ratio is not within 0 and 1.
    """

    def __init__(self, point_cloud_range: Sequence[float], ratio: float = 0.5) -> None:
        super().__init__(point_cloud_range)
        self.ratio = _checked(ratio)

    def draw(self, layout: CloudLayout) -> HiddenRegion:
        """A number of frames for each sample."""
        order = torch.rand(layout.num_samples, layout.num_frames, device=self.corner.device)
        order[:, -1] = -1
        total = torch.full_like(order[:, :1], layout.num_frames)
        hidden = _first_of(order, total * self.ratio)[layout.sample, layout.frame]
        return HiddenCells(hidden[:, None, None], self.corner, self.span)


@MODELS.register_module()
class WholeAgentMasking(BaseMasking):
    """Hide all clouds of whole agents: the others have to stand in for them. Ours.

    Args:
        point_cloud_range: see :class:`BaseMasking`.
        ratio: share of the agents of each sample, on average; the ego may be among them.

    Raises:
        ValueError: the ratio is not within 0 and 1.
    """

    def __init__(self, point_cloud_range: Sequence[float], ratio: float = 0.5) -> None:
        super().__init__(point_cloud_range)
        self.ratio = _checked(ratio)

    def draw(self, layout: CloudLayout) -> HiddenRegion:
        """A number of agents for each sample."""
        there = torch.zeros(
            layout.num_samples, layout.num_agents, dtype=torch.bool, device=self.corner.device
        )
        there[layout.sample, layout.agent] = True
        order = torch.rand(there.shape, device=there.device).masked_fill(~there, torch.inf)
        total = there.sum(dim=1, keepdim=True)
        hidden = _first_of(order, total * self.ratio)[layout.sample, layout.agent]
        return HiddenCells(hidden[:, None, None], self.corner, self.span)


@MODELS.register_module()
class MixedMasking(BaseMasking):
    """Draw one of several ways of masking anew for each sample. Ours.

    Args:
        point_cloud_range: see :class:`BaseMasking`; also that of the strategies.
        strategies: configs of the ways to choose from.
        weights: how often each is drawn, in proportion; equally often by default.

    Raises:
        ValueError: there is not one weight for each strategy, or they are not at least 0 with a
            sum above 0.
    """

    weights: Tensor

    def __init__(
        self,
        point_cloud_range: Sequence[float],
        strategies: Sequence[dict],
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(point_cloud_range)
        parts = [{'point_cloud_range': point_cloud_range, **config} for config in strategies]
        self.strategies = torch.nn.ModuleList(MODELS.build(config) for config in parts)
        shares = [1.0] * len(parts) if weights is None else list(weights)
        if len(shares) != len(parts) or min(shares, default=0) < 0 or sum(shares) <= 0:
            raise SettingError(
                f'{len(parts)} strategies want as many weights of at least 0, got {shares}'
            )
        self.register_buffer('weights', torch.tensor(shares), persistent=False)

    def draw(self, layout: CloudLayout) -> HiddenRegion:
        """Every strategy's draw, and whose counts for which cloud."""
        chosen = torch.multinomial(self.weights, layout.num_samples, replacement=True)
        regions = []
        for strategy in self.strategies:
            assert isinstance(strategy, BaseMasking)
            regions.append(strategy.draw(layout))
        return _Chosen(regions, chosen[layout.sample])


@dataclass(frozen=True)
class _Chosen:
    """One of several regions for each cloud: ``chosen`` (K,) says which."""

    regions: list[HiddenRegion]
    chosen: Tensor

    def at(self, xy: Tensor, cloud: Tensor) -> Tensor:
        every = torch.stack([region.at(xy, cloud) for region in self.regions])
        return every.gather(0, self.chosen[cloud][None])[0]


def _checked(ratio: float) -> float:
    if not 0 <= ratio <= 1:
        raise SettingError(f'ratio must be from 0 to 1, got {ratio}')
    return ratio


def _first_of(order: Tensor, share: Tensor) -> Tensor:
    """(B, n) bool: the first of each row by ``order``, ``share`` (B, 1) of them on average."""
    number = (share + torch.rand_like(order[:, :1])).floor()
    return order.argsort(dim=1).argsort(dim=1) < number
