"""The Chamfer distance of many small point sets at once."""

import torch
from torch import Tensor

__all__ = ['NORMS', 'chamfer_distance', 'group_by_cell']

NORMS = ('l1', 'l2')


def group_by_cell(points: Tensor, index: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Gather the points of each cell into rows, without a loop.

    Args:
        points: (P, D).
        index: (P,) int64 number of each point's cell, from 0 to R - 1, each at least once.
        limit: at most this many points of a cell, a random choice of them.

    Returns:
        rows: (R, limit, D), filled from the left, the rest is 0.
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
    return rows[:, :limit], counts


def chamfer_distance(
    predicted: Tensor, target: Tensor, counts: Tensor, norm: str = 'l1', chunk: int = 512
) -> Tensor:
    r"""Chamfer distance of point sets, averaged over R cells.

    .. math:: \frac1R \sum_r \Big[ \frac1N \sum_i \min_j |p_{ri} - t_{rj}|
              + \frac{1}{M_r} \sum_j \min_i |p_{ri} - t_{rj}| \Big]

    The second mean is over each cell's points, where BEV-MAE takes it over the points of all cells
    (our choice: full cells do not outvote sparse ones).

    Who is nearest is found first, without a graph; the distance to the nearest is then taken with
    one. Memory grows with N + M per cell, not with N * M.

    Args:
        predicted: (R, N, 3).
        target: (R, M, 3), rows filled from the left.
        counts: (R,) int64 M_r, how many targets of each row count; from 1 to M.
        norm: of a difference: ``l1`` is the sum of its absolute coordinates, ``l2`` the sum of
            their squares.
        chunk: cells that are compared at once.

    Returns:
        Scalar; 0 for no cells.
    """
    with torch.no_grad():
        of_predicted, of_target = _nearest(predicted, target, counts, norm, chunk)
    reached = target.gather(1, of_predicted[..., None].expand(-1, -1, 3))
    to_target = _length(predicted - reached, norm).mean(dim=1)
    reached = predicted.gather(1, of_target[..., None].expand(-1, -1, 3))
    there = torch.arange(target.shape[1], device=counts.device) < counts[:, None]
    to_predicted = (_length(reached - target, norm) * there).sum(dim=1) / counts
    return (to_target + to_predicted).sum() / max(len(predicted), 1)


def _nearest(
    predicted: Tensor, target: Tensor, counts: Tensor, norm: str, chunk: int
) -> tuple[Tensor, Tensor]:
    """(R, N) which target is nearest to each prediction, (R, M) and the other way round."""
    of_predicted = counts.new_zeros(predicted.shape[:2])
    of_target = counts.new_zeros(target.shape[:2])
    if not len(counts):
        return of_predicted, of_target
    # Cells of about as many points together: most hold few, and would be filled up in vain.
    parts = counts.argsort().split(chunk)
    widths = counts[torch.stack([part[-1] for part in parts])].tolist()
    for part, width in zip(parts, widths, strict=True):
        some, points = predicted[part], target[part, :width]
        distance = some.new_zeros(len(part), some.shape[1], width)
        # One axis at a time: the differences in all three would be three times as large.
        for p, t in zip(some.unbind(-1), points.unbind(-1), strict=True):
            difference = p[:, :, None] - t[:, None]
            distance += difference.abs_() if norm == 'l1' else difference.square_()
        of_target[part, :width] = distance.min(dim=1).indices
        none = torch.arange(width, device=counts.device) >= counts[part, None]
        of_predicted[part] = distance.masked_fill_(none[:, None], torch.inf).min(dim=2).indices
    return of_predicted, of_target


def _length(difference: Tensor, norm: str) -> Tensor:
    return (difference.abs() if norm == 'l1' else difference.square()).sum(dim=-1)
