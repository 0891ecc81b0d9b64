"""Where who drives is carried by the lanes of a vector map."""

import math

import torch
from torch import Tensor

__all__ = ['ALONG_LANE', 'NEAR_LANE', 'drive_along_lanes', 'driving_lanes']

_DRIVING = 1  # type of a polyline, see vector_map.py
# What is on a lane lies within 2.5 m and 30 degrees of it.
NEAR_LANE, ALONG_LANE = 2.5, math.cos(math.radians(30.0))  # m, least cosine
_DRIVES = 2.0  # m/s
_STRIDE = 0.25  # seconds from one choice of a lane to the next
_FADES = 3.0  # seconds in which an acceleration fades to a third


def driving_lanes(polylines: Tensor, mask: Tensor) -> Tensor:
    """Points of driving lanes, as :func:`drive_along_lanes` takes them.

    Args:
        polylines: (B, L, P, 7) ``[x, y, z, dx, dy, dz, type]``, metres.
        mask: (B, L, P) bool, which points there are.

    Returns:
        (B, L * P, 4) ``[x, y, dx, dy]`` with unit vectors along the lanes; NaN where there is no
        point of a driving lane.
    """
    points = polylines.flatten(1, 2)
    length = points[..., 3:5].norm(dim=-1, keepdim=True)
    there = mask.flatten(1, 2) & (points[..., 6] == _DRIVING) & (length[..., 0] > 0)
    lanes = torch.cat([points[..., :2], points[..., 3:5] / length], dim=-1)
    return lanes.masked_fill(~there[..., None], math.nan)


@torch.no_grad()
def drive_along_lanes(
    positions: Tensor,
    velocities: Tensor,
    lanes: Tensor,
    times: list[float],
    accelerations: Tensor | None = None,
) -> Tensor:
    """Drive on: along the nearest lane that leads that way, or else straight.

    A lane leads that way if it lies within 2.5 m and 30 degrees. An offset from its middle is kept.
    What is slower than 2 m/s goes straight on. An acceleration fades with a time constant of 3 s,
    and who brakes stops. All five figures are our choice.

    Args:
        positions: (B, M, 2) metres.
        velocities: (B, M, 2) m/s.
        lanes: (B, K, 4), see :func:`driving_lanes`; K may be 0.
        times: F, rising, seconds.
        accelerations: (B, M) m/s^2 of the speed; None is for a constant speed.

    Returns:
        (B, M, F, 2) metres.
    """
    start = velocities.norm(dim=-1, keepdim=True)
    heading = velocities / start.clamp(min=1e-9)
    # Columns of (B, 1, K): to add up two of them is far quicker than to sum over an axis of two.
    lane_x, lane_y, lane_dx, lane_dy = lanes.transpose(1, 2).contiguous()[:, :, None].unbind(1)
    paths, now = [], 0.0
    for until in times:
        strides = max(1, round((until - now) / _STRIDE))
        for number in range(strides):
            speed = start
            if accelerations is not None:
                middle = now + (until - now) * (number + 0.5) / strides
                lasted = _FADES * (1 - math.exp(-middle / _FADES))
                speed = (start + lasted * accelerations[..., None]).clamp(min=0)
            way = (until - now) / strides * speed
            if lanes.shape[1]:
                # The lane half a stride ahead: in bends, the one here leads outwards.
                x, y = (positions + 0.5 * way * heading).split(1, dim=-1)
                away = (x - lane_x).square_().add_((y - lane_y).square_())
                dx, dy = heading.split(1, dim=-1)
                # Comparisons with NaN are false.
                leads = (dx * lane_dx).add_(dy * lane_dy) >= ALONG_LANE
                away, nearest = away.where(leads, torch.inf).min(dim=-1)
                follows = (speed[..., 0] >= _DRIVES) & (away < NEAR_LANE**2)
                lane = lanes[..., 2:].gather(1, nearest[..., None].expand(-1, -1, 2))
                heading = torch.where(follows[..., None], lane, heading)
            positions = positions + way * heading
        paths.append(positions)
        now = until
    return torch.stack(paths, dim=2)
