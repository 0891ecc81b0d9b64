"""Which places hold points, as fine as motion takes, for the surroundings of single objects."""

import math

import torch
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import functional

from ..errors import SettingError

__all__ = ['OccupancyGrid', 'OccupancyMaps', 'likeness']

_WORD = 62  # layers that an int64 holds, with room to shift a bit beyond the last


class OccupancyMaps:
    """Fine occupancy of S places over T frames, see :class:`OccupancyGrid`.

    Args:
        columns: (S, T, K, H, W) int64, the Z layers of each column, a bit each, 62 to a word.
        low: (3,) lowest x, y, z, metres.
        cell: (3,) size of a cell, metres.
    """

    def __init__(self, columns: Tensor, low: Tensor, cell: Tensor) -> None:
        self.columns, self.low, self.cell = columns, low, cell

    def __getitem__(self, places: Tensor) -> 'OccupancyMaps':
        """Of some of the places."""
        return OccupancyMaps(self.columns[places], self.low, self.cell)

    def crop(
        self,
        centres: Tensor,
        places: Tensor,
        size: int,
        levels: tuple[float, ...],
        cells_per_frame: Tensor | None = None,
    ) -> Tensor:
        """What is occupied round some points, which may move.

        Args:
            centres: (M, 3) x, y and the height from which levels count, metres.
            places: (M,) int64, which of the S.
            size: cells along each side.
            levels: (L + 1,) metres above the centres' heights, rising: the borders of L layers.
            cells_per_frame: (M, 2) int64, by how many cells along x and y the square moves from
                each frame to the next; it lies round the centre in the current, last one. None is
                for squares that stay.

        Returns:
            (M, T, L, size, size) of 0 and 1, the first of the last two along y; 0 beyond the grid.
        """
        frames, words, height, width = self.columns.shape[1:]
        device = self.columns.device
        corner = ((centres[:, :2] - self.low[:2]) / self.cell[:2]).floor().long() - size // 2
        corner = corner[:, None].expand(-1, frames, -1)
        if cells_per_frame is not None:
            ago = torch.arange(frames - 1, -1, -1, device=device)
            corner = corner - ago[:, None] * cells_per_frame[:, None]
        # All squares of a grid with a margin, as a view: to pick some copies rows, not cells.
        around = functional.pad(self.columns, [size] * 4).unfold(3, size, 1).unfold(4, size, 1)
        corner = corner + size
        column, row = corner[..., 0].clamp(0, width + size), corner[..., 1].clamp(0, height + size)
        frame = torch.arange(frames, device=device)
        squares = around[places[:, None], frame, :, row, column]  # (M, T, K, size, size)

        above = centres[:, 2:] - self.low[2] + torch.tensor(levels, device=device)
        first = _WORD * torch.arange(words, device=device)[:, None]
        level = ((above / self.cell[2]).ceil().long()[:, None] - first).clamp(0, _WORD)
        below = (1 << level) - 1  # (M, K, L + 1), the bits of the cells below each level
        layers = (below[..., 1:] & ~below[..., :-1]).mT[:, None, ..., None, None]
        return ((squares[:, :, None] & layers) != 0).any(dim=3).float()


def likeness(squares: Tensor, objects: Tensor) -> Tensor:
    """How much of an object is found again in earlier squares, by where it would have been.

    Args:
        squares: (M, T, L, W, W) occupancy round M places over T frames, the current one last.
        objects: (M, K, K) bool, K odd, which cells in the middle belong to the object.

    Returns:
        (M, T - 1, S, S) with S = W - K + 1: share of the object's occupied cells that were occupied
        when all of it lay off by as much as the result's cell lies off its middle.
    """
    width, size = squares.shape[-1], objects.shape[1]
    side, before = width - size + 1, squares[:, :-1]
    if not before.numel():  # which some libraries do not transform
        return squares.new_zeros(*before.shape[:2], side, side)
    middle = slice((width - size) // 2, (width + size) // 2)
    pattern = squares[:, -1, :, middle, middle] * objects[:, None]
    # A correlation by Fourier transform: convolutions with one filter a sample are far slower.
    # Multiples of four are transformed in two thirds of the time of odd sizes.
    padded = (width + -width % 4,) * 2
    whole = torch.fft.rfft2(before, s=padded)
    part = torch.fft.rfft2(pattern, s=padded).conj()
    found = torch.fft.irfft2((whole * part[:, None]).sum(dim=2), s=padded)
    count = pattern.sum(dim=(1, 2, 3)).clamp(min=1)[:, None, None, None]
    return found[..., :side, :side].round() / count


class OccupancyGrid(BaseModule):
    """Cells of the ego's surroundings that hold a point of any agent, for each frame.

    To tell how an object moves takes cells much finer than those of the maps that agents share: a
    pedestrian crosses 0.7 m from one frame to the next. Whether they hold a point is enough, which
    an agent can send beside its map for a few kilobytes a frame.

    Args:
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.
        cell_size: ``[x, y, z]``, metres.

    Raises:
        SettingError: the range is no multiple of the cells.
    """

    def __init__(
        self, point_cloud_range: list[float], cell_size: list[float], init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        low, high = point_cloud_range[:3], point_cloud_range[3:]
        spans = [b - a for a, b in zip(low, high, strict=True)]
        self.shape = [round(span / cell) for span, cell in zip(spans, cell_size, strict=True)]
        for axis, span, cell, count in zip('xyz', spans, cell_size, self.shape, strict=True):
            if abs(count * cell - span) > 1e-3 or count < 1:
                raise SettingError(
                    f'point_cloud_range spans {span:g} m in {axis}, which is no multiple of the '
                    f'occupancy cell of {cell:g} m'
                )
        self.register_buffer('low', torch.tensor(low, dtype=torch.float32), persistent=False)
        self.register_buffer('cell', torch.tensor(cell_size, dtype=torch.float32), persistent=False)

    @torch.no_grad()
    def forward(
        self, clouds: list[Tensor], motions: Tensor | None, places: Tensor, count: int
    ) -> OccupancyMaps:
        """Mark the cells.

        Args:
            clouds: A * T tensors (P, 4) of x, y, z (m), intensity, agent-major; P may be 0.
            motions: (A, T, 4, 4) from the frame of each cloud to that of the grid; None where they
                lie there already.
            places: (A,) int64, to which of the S places each agent's points go.
            count: S.

        Returns:
            Of the S places.
        """
        frames = len(clouds) // len(places)
        cloud, cell = self._cells(clouds, motions)
        frame = places[cloud // frames] * frames + cloud % frames
        width, height, top = self.shape
        size = top * height * width
        # Points outside share the one cell behind the last, which spares a wait for their number.
        inside = cell < size
        where = torch.where(inside, frame * size + cell, count * frames * size)
        # One point of each cell sets its bit, whichever wrote last: the others' are zero. Only
        # cells that were written are read.
        number = torch.arange(len(cell), dtype=torch.int32, device=cell.device)
        writer = number.new_empty(count * frames * size + 1)
        writer[where] = number
        sets = (writer[where] == number) & inside
        layer, column = cell // (height * width), cell % (height * width)
        words = -(-top // _WORD)
        word = (frame * words + layer // _WORD) * height * width + column
        columns = cell.new_zeros(count * frames * words * height * width)
        bit = sets.long() << (layer % _WORD)
        columns.index_add_(0, torch.where(inside, word, 0), bit)
        columns = columns.view(count, frames, words, height, width)
        return OccupancyMaps(columns, self.low, self.cell)

    @torch.no_grad()
    def message_bytes(self, clouds: list[Tensor], motions: Tensor | None, agents: int) -> list[int]:
        """What each of some agents sends for its occupied cells: their numbers, packed.

        Args:
            clouds: see :meth:`forward`.
            motions: see :meth:`forward`.
            agents: A.
        """
        cloud, cell = self._cells(clouds, motions)
        size = math.prod(self.shape)
        occupied = torch.unique((cloud * size + cell)[cell < size])
        counts = torch.bincount(occupied // (size * (len(clouds) // agents)), minlength=agents)
        bits = math.ceil(math.log2(size))
        return [-(-count * bits // 8) for count in counts.tolist()]

    def _cells(self, clouds: list[Tensor], motions: Tensor | None) -> tuple[Tensor, Tensor]:
        """(sum P,) of which cloud a point is, and its cell; the number of cells if it has none."""
        points = torch.cat(clouds)[:, :3]
        sizes = torch.tensor([len(cloud) for cloud in clouds], device=points.device)
        cloud = torch.repeat_interleave(sizes, output_size=len(points))
        if motions is not None:
            matrix = motions.flatten(0, 1).to(points)[cloud]
            points = (matrix[:, :3, :3] * points[:, None]).sum(dim=-1) + matrix[:, :3, 3]
        width, height, top = self.shape
        index = ((points - self.low) / self.cell).floor().long()
        inside = ((index >= 0) & (index < index.new_tensor([width, height, top]))).all(dim=1)
        cell = (index[:, 2] * height + index[:, 1]) * width + index[:, 0]
        return cloud, torch.where(inside, cell, math.prod(self.shape))
