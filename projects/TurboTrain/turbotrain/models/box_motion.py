"""Boxes and their paths, moved from one frame to another, and on to a later time."""

import torch
from torch import Tensor

__all__ = ['advance', 'from_axes', 'move_boxes', 'move_paths', 'to_axes', 'turn']


def move_boxes(b_from_a: Tensor, boxes: Tensor) -> Tensor:
    """Move boxes from frame a to frame b; a tilt between the two is dropped from the box itself.

    Args:
        b_from_a: (..., 4, 4) rigid transforms.
        boxes: (..., 7) ``(x, y, z_bottom, l, w, h, yaw)`` in frame a, metres and radians.

    Returns:
        (..., 7) in frame b; leading axes as they broadcast.
    """
    matrix = b_from_a.to(boxes)
    lift = torch.stack([torch.zeros_like(boxes[..., 5])] * 2 + [boxes[..., 5] / 2], dim=-1)
    centre = _turn(matrix, boxes[..., :3] + lift) + matrix[..., :3, 3]
    yaw = boxes[..., 6]
    ahead = _turn(matrix, torch.stack([yaw.cos(), yaw.sin(), torch.zeros_like(yaw)], dim=-1))
    turned = torch.atan2(ahead[..., 1], ahead[..., 0])[..., None]
    return torch.cat([centre - lift, boxes[..., 3:6].expand_as(centre), turned], dim=-1)


def move_paths(b_from_a: Tensor, paths: Tensor, heights: Tensor) -> Tensor:
    """Move positions in the plane from frame a to frame b.

    Args:
        b_from_a: (..., 4, 4) rigid transforms.
        paths: (..., 2) in frame a, metres.
        heights: (...) of the positions above frame a's plane, metres: frames may be tilted.

    Returns:
        (..., 2) in frame b; leading axes as they broadcast.
    """
    matrix = b_from_a.to(paths)
    heights = heights[..., None].expand(*paths.shape[:-1], 1)
    points = torch.cat([paths, heights], dim=-1)
    return (_turn(matrix, points) + matrix[..., :3, 3])[..., :2]


def advance(
    centres: Tensor, paths: Tensor, mode_scores: Tensor, steps: Tensor
) -> tuple[Tensor, Tensor]:
    """Where boxes are, and what lies ahead of them, some time after they were forecast.

    Paths are straight between their positions and go on straight behind the last one and before the
    box. The box is where its likeliest mode has it.

    Args:
        centres: (M, 2) positions when the forecast was made, metres.
        paths: (M, K, F, 2) positions 1 to F steps later.
        mode_scores: (M, K).
        steps: (M,) how much later it is, in steps; below 0 if it is earlier.

    Returns:
        (M, 2) and (M, K, F, 2), as of then.
    """
    m, k, f, _ = paths.shape
    whole = torch.cat([centres[:, None, None].expand(m, k, 1, 2), paths], dim=2)
    time = steps[:, None] + torch.arange(f + 1, device=paths.device)
    before = time.floor().long().clamp(min=0, max=f - 1)
    share = (time - before)[:, None, :, None].to(paths.dtype)
    rows = before[:, None, :, None].expand(m, k, f + 1, 2)
    whole = whole.gather(2, rows).lerp(whole.gather(2, rows + 1), share)
    likeliest = mode_scores.argmax(dim=1)
    return whole[torch.arange(m, device=paths.device), likeliest, 0], whole[:, :, 1:]


def turn(b_from_a: Tensor, vectors: Tensor) -> Tensor:
    """Vectors (..., 2) of the plane of frame a, such as velocities, along the axes of frame b.

    Args:
        b_from_a: (..., 4, 4) rigid transforms.
        vectors: (..., 2) in frame a.

    Returns:
        (..., 2) in frame b; leading axes as they broadcast.
    """
    return _turn(b_from_a.to(vectors), torch.nn.functional.pad(vectors, (0, 1)))[..., :2]


def to_axes(axes: Tensor, vectors: Tensor) -> Tensor:
    """Vectors (..., 2) along axes of which the first are the unit vectors ``axes`` (..., 2)."""
    (cos, sin), (x, y) = axes.unbind(dim=-1), vectors.unbind(dim=-1)
    return torch.stack([x * cos + y * sin, y * cos - x * sin], dim=-1)


def from_axes(axes: Tensor, vectors: Tensor) -> Tensor:
    """What :func:`to_axes` undoes."""
    (cos, sin), (x, y) = axes.unbind(dim=-1), vectors.unbind(dim=-1)
    return torch.stack([x * cos - y * sin, y * cos + x * sin], dim=-1)


def _turn(matrix: Tensor, vectors: Tensor) -> Tensor:
    # No matrix product: autocast would round metres to centimetres.
    return (matrix[..., :3, :3] * vectors[..., None, :]).sum(dim=-1)
