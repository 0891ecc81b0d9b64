"""Headings of detected boxes, by how they move."""

import torch
from torch import Tensor

__all__ = ['head_along']

_FAST_ENOUGH = 0.5  # m/s from which a direction of motion is told well


def head_along(boxes: Tensor, velocities: Tensor) -> Tensor:
    """Turn boxes round that drive backwards: which end is the front is what detectors tell worst.

    Nothing that moves at 0.5 m/s or more and has been seen for a while goes backwards for long (our
    choice); slower boxes keep their heading.

    Args:
        boxes: (M, 7 or more) ``(x, y, z, l, w, h, yaw, ...)``.
        velocities: (M, 2) m/s in the boxes' axes.

    Returns:
        The boxes with half a turn added to the yaw of those.
    """
    yaw = boxes[:, 6]
    ahead = velocities[:, 0] * yaw.cos() + velocities[:, 1] * yaw.sin()
    backwards = (ahead < 0) & (velocities.norm(dim=1) >= _FAST_ENOUGH)
    turned = boxes.clone()
    turned[:, 6] = yaw + torch.pi * backwards
    return turned
