"""Forecasts from true past positions alone: how far simple models of motion would get."""

from typing import NamedTuple

import numpy as np

__all__ = ['MOTION_MODELS', 'Tracks', 'driving_lanes']

_DRIVING = 1  # type of a polyline, see structures/vector_map.py
_NEAR, _ALONG = 2.5, np.cos(np.radians(30.0))  # m and least cosine, from a lane to who drives on it
_DRIVES = 2.0  # m/s
_STRIDE = 0.1  # seconds from one choice of a lane to the next


class Tracks(NamedTuple):
    """Where M objects were, and where vehicles drive.

    Attributes:
        past: (M, T, 2) positions with T of 3 or more, the current one last, metres.
        known: (M, T) bool, which of them are known.
        step: seconds from one position to the next.
        lanes: (K, 4) points of driving lanes and the unit vectors along them ``[x, y, dx, dy]``,
            in the positions' frame.
    """

    past: np.ndarray
    known: np.ndarray
    step: float
    lanes: np.ndarray


def driving_lanes(polylines: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The ``lanes`` of :class:`Tracks` in a sample's ``vector_map`` and ``vector_map_mask``."""
    points = polylines[mask & (polylines[..., 6] == _DRIVING)]
    along = points[:, 3:5]
    length = np.linalg.norm(along, axis=1)
    kept = length > 0
    return np.concatenate([points[kept, :2], along[kept] / length[kept, None]], axis=1)


def _stationary(tracks: Tracks, times: np.ndarray) -> np.ndarray:
    return np.repeat(tracks.past[:, -1:], len(times), axis=1)


def _constant_velocity(tracks: Tracks, times: np.ndarray) -> np.ndarray:
    velocity, _ = _derivatives(tracks)
    return tracks.past[:, -1:] + times[:, None] * velocity[:, None]


def _lane_following(tracks: Tracks, times: np.ndarray) -> np.ndarray:
    """At constant speed: straight on, but along the nearest lane while there is one that way."""
    velocity, _ = _derivatives(tracks)
    position, speed = tracks.past[:, -1].copy(), np.linalg.norm(velocity, axis=1, keepdims=True)
    heading = velocity / np.maximum(speed, 1e-9)
    drives = speed[:, 0] >= _DRIVES
    paths, now = np.empty((len(position), len(times), 2)), 0.0
    for i, until in enumerate(times):
        strides = max(1, round((until - now) / _STRIDE))
        for _ in range(strides):
            if len(tracks.lanes):
                away = np.linalg.norm(position[:, None] - tracks.lanes[:, :2], axis=-1)
                away[heading @ tracks.lanes[:, 2:].T < _ALONG] = np.inf
                nearest = away.argmin(axis=1)
                follows = drives & (away[np.arange(len(away)), nearest] < _NEAR)
                heading[follows] = tracks.lanes[nearest[follows], 2:]
            position = position + (until - now) / strides * speed * heading
        paths[:, i], now = position, until
    return paths


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
    velocities = np.diff(tracks.past, axis=1) / tracks.step
    seen = tracks.known[:, 1:] & tracks.known[:, :-1]
    acceleration = (velocities[:, -1] - velocities[:, -2]) / tracks.step
    return (
        velocities[:, -1] * seen[:, -1:],
        acceleration * (seen[:, -1] & seen[:, -2])[:, None],
    )


MOTION_MODELS = {
    'stationary': _stationary,
    'constant velocity': _constant_velocity,
    'lane following': _lane_following,
    'constant acceleration': _constant_acceleration,
    'constant velocity, 0.5 m/s of noise an axis': _noisy_velocity,
}
"""Name -> function of :class:`Tracks` and times ahead (F,) s to future positions (M, F, 2).
Velocity and acceleration are 0 where too few positions are known."""
