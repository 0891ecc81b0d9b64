"""The Chamfer distance of many small point sets at once."""

import torch
from torch import Tensor

__all__ = ['NORMS', 'chamfer_distance', 'group_by_cell']

NORMS = ('l1', 'l2')


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


def chamfer_distance(
    predicted: Tensor, target: Tensor, mask: Tensor, norm: str = 'l1', chunk: int = 2048
) -> Tensor:
    r"""Chamfer distance of point sets, averaged over R cells.

    .. math:: \frac1R \sum_r \Big[ \frac1N \sum_i \min_j |p_{ri} - t_{rj}|
              + \frac{1}{M_r} \sum_j \min_i |p_{ri} - t_{rj}| \Big]

    The second mean is over each cell's points, where BEV-MAE takes it over the points of all cells
    (our choice: full cells do not outvote sparse ones).

    Who is nearest is found first, without a graph and ``chunk`` cells at a time; the distance to
    the nearest is then taken with one. Memory grows with N + M per cell, not with N * M.

    Args:
        predicted: (R, N, 3).
        target: (R, M, 3).
        mask: (R, M) bool, which targets are there; at least one in each row.
        norm: of a difference: ``l1`` is the sum of its absolute coordinates, ``l2`` the sum of
            their squares.
        chunk: cells that are compared at once.

    Returns:
        Scalar; 0 for no cells.
    """
    with torch.no_grad():
        parts = [tensor.split(chunk) for tensor in (predicted, target, mask)]
        nearest = [_nearest(*part, norm) for part in zip(*parts, strict=True)]
    of_predicted, of_target = (torch.cat(i)[..., None] for i in zip(*nearest, strict=True))
    reached = target.gather(1, of_predicted.expand(-1, -1, 3))
    to_target = _length(predicted - reached, norm).mean(dim=1)
    reached = predicted.gather(1, of_target.expand(-1, -1, 3))
    to_predicted = (_length(reached - target, norm) * mask).sum(dim=1) / mask.sum(dim=1)
    return (to_target + to_predicted).sum() / max(len(predicted), 1)


def _nearest(predicted: Tensor, target: Tensor, mask: Tensor, norm: str) -> tuple[Tensor, Tensor]:
    """(R, N) which target is nearest to each prediction, (R, M) and the other way round."""
    distance = predicted.new_zeros(len(predicted), predicted.shape[1], target.shape[1])
    # One axis at a time: the differences in all three would be three times as large.
    for p, t in zip(predicted.unbind(-1), target.unbind(-1), strict=True):
        difference = p[:, :, None] - t[:, None]
        distance += difference.abs_() if norm == 'l1' else difference.square_()
    of_target = distance.argmin(dim=1)
    return distance.masked_fill_(~mask[:, None], torch.inf).argmin(dim=2), of_target


def _length(difference: Tensor, norm: str) -> Tensor:
    return (difference.abs() if norm == 'l1' else difference.square()).sum(dim=-1)
