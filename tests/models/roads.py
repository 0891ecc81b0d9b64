"""Vector maps of a few roads."""

import numpy as np
import torch

from turbotrain.models import (
    VectorMaps,
)
from turbotrain.structures import (
    Lane,
    Map,
    MapPoint,
    polylines_of,
)


def road(lanes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Curved lanes of several types, with boundaries, cut into polylines."""
    x = np.linspace(-20, 20, 36)  # runs of 10, 10, 10 and 6 points
    curves = [
        Lane(
            k, 1, type=1 + k % 3,
            polyline=[MapPoint(*p) for p in np.column_stack([x, 4 * k - 8 + 0.02 * x**2])],
            boundary=[MapPoint(*p) for p in np.column_stack([x, 4 * k - 6 + 0.02 * x**2])],
        )
        for k in range(lanes)
    ]  # fmt: skip
    return polylines_of(Map(curves))


def road_maps() -> VectorMaps:
    polylines, mask = road()
    return VectorMaps(torch.from_numpy(polylines).float()[None], torch.from_numpy(mask)[None])
