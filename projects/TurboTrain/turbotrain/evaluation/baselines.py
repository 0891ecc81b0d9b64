"""Forecasts that need no network, of the same detections: what a learned one has to beat."""

from dataclasses import replace

import numpy as np

from .center_matching import match_centers
from .forecasting import ForecastFrame, needed

__all__ = ['constant_velocity', 'standing_still', 'true_velocity']


def standing_still(frame: ForecastFrame) -> ForecastFrame:
    """The same detections with the forecast that none of them moves."""
    return _driven(frame, np.zeros_like(frame.centers), 0.0)


def constant_velocity(frame: ForecastFrame, step: float) -> ForecastFrame:
    """The same detections, each driven on at the velocity that was detected.

    Args:
        frame: with ``velocities``.
        step: seconds from one position of a path to the next.
    """
    return _driven(frame, needed(frame.velocities, 'velocities'), step)


def true_velocity(frame: ForecastFrame, step: float, radius: float) -> ForecastFrame:
    """The same detections, each driven on at the velocity that its object had just now.

    No model can know that velocity without error; one that foresees turns and braking can be better
    all the same. Detections without an object, or of one whose velocity is not known, stand still.

    Args:
        frame: with ``gt_velocities``.
        step: seconds from one position of a path to the next.
        radius: largest distance between the centres of a match, metres.
    """
    row, gt_row = match_centers(frame.centers, frame.gt_centers, radius)
    velocities = np.zeros_like(frame.centers)
    velocities[row] = np.nan_to_num(needed(frame.gt_velocities, 'gt_velocities')[gt_row])
    return _driven(frame, velocities, step)


def _driven(frame: ForecastFrame, velocities: np.ndarray, step: float) -> ForecastFrame:
    times = step * np.arange(1, frame.gt_trajectories.shape[1] + 1)
    paths = frame.centers[:, None] + times[:, None] * velocities[:, None]
    return replace(frame, trajectories=paths[:, None], mode_scores=None)
