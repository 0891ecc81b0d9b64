"""Headings of detected boxes, by how they move and by the lanes they are on."""

import torch
from torch import Tensor

from ..structures import ALONG_LANE, NEAR_LANE

__all__ = ['FAST_ENOUGH', 'head_along', 'head_with_traffic']

FAST_ENOUGH = 0.7  # m/s from which a velocity tells a heading better than the detection head
_APART = 1.0  # m by which a lane has to be nearer than those that lead the other way


def head_along(boxes: Tensor, velocities: Tensor) -> Tensor:
    """Boxes that move head where they go.

    Which end of a box is the front is what detectors tell worst, and now and then they take an
    anchor that lies across the object. Nothing that is seen for a while to move at 0.7 m/s or more
    goes sideways or backwards for long (our choice); slower boxes keep their heading.

    Args:
        boxes: (M, 7 or more) ``(x, y, z, l, w, h, yaw, ...)``.
        velocities: (M, 2) m/s in the boxes' axes.

    Returns:
        The boxes, with the velocity's direction for a yaw where they move.
    """
    moves = velocities.norm(dim=1) >= FAST_ENOUGH
    turned = boxes.clone()
    turned[:, 6] = torch.atan2(velocities[:, 1], velocities[:, 0]).where(moves, boxes[:, 6])
    return turned


def head_with_traffic(boxes: Tensor, lanes: Tensor, bound: Tensor) -> Tensor:
    """Turn boxes as the lane leads that they are on: those that lie against it, or across it.

    A lane leads some way if it lies within 2.5 m and within 30 degrees of that way. A box is turned
    by a half if a lane leads backwards and none that leads forwards is less than 1 m further; by a
    quarter if one leads to its side and none along its axis, either way, is less than 1 m further
    (our choice). Length and width stay: they are those of the object also where a detector took the
    anchor that lies across.

    Args:
        boxes: (M, 7 or more) ``(x, y, z, l, w, h, yaw, ...)``.
        lanes: (K, 4) points and unit vectors, NaN where there is none, see
            :func:`~.driving_lanes`; K may be 0.
        bound: (M,) bool, which boxes keep to lanes; people do not.

    Returns:
        The boxes with quarters of a turn added to the yaw of those.
    """
    if not len(lanes):
        return boxes
    cos, sin = boxes[:, 6:7].cos(), boxes[:, 6:7].sin()
    along = cos * lanes[:, 2] + sin * lanes[:, 3]
    aside = cos * lanes[:, 3] - sin * lanes[:, 2]
    away = (boxes[:, None, :2] - lanes[:, :2]).norm(dim=-1)
    # Comparisons with NaN are false.
    ahead, left, back, right = (
        away.where(leads >= ALONG_LANE, torch.inf).amin(dim=1)
        for leads in (along, aside, -along, -aside)
    )
    side, axis = torch.minimum(left, right), torch.minimum(ahead, back)
    against = (back < NEAR_LANE) & (back + _APART < ahead)
    across = (side < NEAR_LANE) & (side + _APART < axis)
    quarters = torch.where(across, 2 * (left <= right) - 1, 2 * against) * bound
    turned = boxes.clone()
    turned[:, 6] += quarters * (torch.pi / 2)
    return turned
