"""Forecasts from true past positions alone: how far simple models of motion would get."""

from typing import NamedTuple

import numpy as np
import torch

from ..structures import drive_along_lanes, last_acceleration, last_velocity

__all__ = ['MOTION_MODELS', 'Tracks']


class Tracks(NamedTuple):
    """Where M objects were, and where vehicles drive.

    Attributes:
        past: (M, T, 2) positions with T of 3 or more, the current one last, metres.
        known: (M, T) bool, which of them are known.
        step: seconds from one position to the next.
        lanes: (K, 4) points of lanes in the positions' frame, see :func:`~.driving_lanes`.
    """

    past: np.ndarray
    known: np.ndarray
    step: float
    lanes: np.ndarray


def _stationary(tracks: Tracks, times: np.ndarray) -> np.ndarray:
    return np.repeat(tracks.past[:, -1:], len(times), axis=1)


def _constant_velocity(tracks: Tracks, times: np.ndarray) -> np.ndarray:
    velocity, _ = _derivatives(tracks)
    return tracks.past[:, -1:] + times[:, None] * velocity[:, None]


def _lane_following(tracks: Tracks, times: np.ndarray) -> np.ndarray:
    velocity, _ = _derivatives(tracks)
    now, velocities, lanes = (
        torch.from_numpy(part)[None] for part in (tracks.past[:, -1], velocity, tracks.lanes)
    )
    return drive_along_lanes(now, velocities, lanes, times.tolist())[0].numpy()


def _constant_acceleration(tracks: Tracks, times: np.ndarray) -> np.ndarray:
    # The last step's mean velocity is that of its middle.
    velocity, acceleration = _derivatives(tracks)
    gained = (times * (times + tracks.step) / 2)[:, None] * acceleration[:, None]
    return tracks.past[:, -1:] + times[:, None] * velocity[:, None] + gained


def _noisy_velocity(tracks: Tracks, times: np.ndarray) -> np.ndarray:
    count = len(tracks.past)
    noise = np.random.default_rng(count).normal(0.0, 0.5, (count, 2))
    return _constant_velocity(tracks, times) + times[:, None] * noise[:, None]


def _derivatives(tracks: Tracks) -> tuple[np.ndarray, np.ndarray]:
    """(M, 2) m/s over the last step, and (M, 2) m/s^2 over the last two; 0 where unknown."""
    history = tracks.past, tracks.known, tracks.step * np.arange(tracks.past.shape[1])
    return last_velocity(*history)[0], last_acceleration(*history)[0]


MOTION_MODELS = {
    'stationary': _stationary,
    'constant velocity': _constant_velocity,
    'lane following': _lane_following,
    'constant acceleration': _constant_acceleration,
    'constant velocity, 0.5 m/s of noise an axis': _noisy_velocity,
}
"""Name -> function of :class:`Tracks` and times ahead (F,) s to future positions (M, F, 2).
Velocity and acceleration are 0 where too few positions are known."""
