"""Trajectories as arrays of positions with a mask, at a fixed rate."""

import numpy as np

__all__ = ['interpolate_missing_points', 'last_acceleration', 'last_velocity']


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


def last_velocity(
    history: np.ndarray, valid: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Velocities over the last step of past positions.

    Args:
        history: (M, T, 2) positions, metres, the current one last.
        valid: (M, T) bool, which of them are known.
        times: (T,) seconds.

    Returns:
        velocity: (M, 2) m/s, 0 where it is not known.
        known: (M,) bool.
    """
    if len(times) < 2:
        return np.zeros((len(history), 2)), np.zeros(len(history), dtype=bool)
    known = valid[:, -2] & valid[:, -1]
    velocity = (history[:, -1] - history[:, -2]) / (times[-1] - times[-2])
    return np.where(known[:, None], velocity, 0.0), known


def last_acceleration(
    history: np.ndarray, valid: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Changes of velocity from the last step but one to the last step of past positions.

    Args:
        history: see :func:`last_velocity`.
        valid: see :func:`last_velocity`.
        times: see :func:`last_velocity`.

    Returns:
        acceleration: (M, 2) m/s^2, 0 where it is not known.
        known: (M,) bool.
    """
    after, known_after = last_velocity(history, valid, times)
    before, known_before = last_velocity(history[:, :-1], valid[:, :-1], times[:-1])
    known = known_after & known_before
    if not known.any():
        return np.zeros_like(after), known
    # From the middle of one step to the middle of the next.
    acceleration = (after - before) / ((times[-1] - times[-3]) / 2)
    return np.where(known[:, None], acceleration, 0.0), known
