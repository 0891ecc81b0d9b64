"""Trajectories as arrays of positions with a mask, at a fixed rate."""

import numpy as np

__all__ = ['interpolate_missing_points']


def interpolate_missing_points(trajectories: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill gaps: linear between observed points, constant outside the observed span.

    Source: V2XPnP ``common_utils.interpolate_missing_points`` (from its description).

    Args:
        trajectories: (N, T, D) positions; values where ``mask`` is 0 are ignored.
        mask: (N, T), non-zero where observed.

    Returns:
        (N, T, D) float64. Rows without any observed point come back as they are.
    """
    filled = np.array(trajectories, dtype=np.float64)
    time = np.arange(filled.shape[1])
    for row, seen in zip(filled, np.asarray(mask, dtype=bool), strict=True):
        if seen.any():
            for d in range(row.shape[1]):
                row[:, d] = np.interp(time, time[seen], row[seen, d])
    return filled
