"""Headings of detected boxes, by how they move."""

import torch
from torch import Tensor

__all__ = ['head_along']

_FAST_ENOUGH = 0.7  # m/s from which a velocity tells a heading better than the detection head


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
    moves = velocities.norm(dim=1) >= _FAST_ENOUGH
    turned = boxes.clone()
    turned[:, 6] = torch.atan2(velocities[:, 1], velocities[:, 0]).where(moves, boxes[:, 6])
    return turned
