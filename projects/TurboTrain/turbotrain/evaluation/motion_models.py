"""Forecasts from true past positions alone: how far simple models of motion would get."""

import numpy as np

__all__ = ['MOTION_MODELS']


def _stationary(past: np.ndarray, known: np.ndarray, times: np.ndarray, step: float) -> np.ndarray:
    return np.repeat(past[:, -1:], len(times), axis=1)


def _constant_velocity(
    past: np.ndarray, known: np.ndarray, times: np.ndarray, step: float
) -> np.ndarray:
    velocity, _ = _derivatives(past, known, step)
    return past[:, -1:] + times[:, None] * velocity[:, None]


def _constant_acceleration(
    past: np.ndarray, known: np.ndarray, times: np.ndarray, step: float
) -> np.ndarray:
    # The last step's mean velocity is that of its middle.
    velocity, acceleration = _derivatives(past, known, step)
    gained = (times * (times + step) / 2)[:, None] * acceleration[:, None]
    return past[:, -1:] + times[:, None] * velocity[:, None] + gained


def _noisy_velocity(
    past: np.ndarray, known: np.ndarray, times: np.ndarray, step: float
) -> np.ndarray:
    noise = np.random.default_rng(len(past)).normal(0.0, 0.5, (len(past), 2))
    return _constant_velocity(past, known, times, step) + times[:, None] * noise[:, None]


def _derivatives(past: np.ndarray, known: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """(M, 2) m/s over the last step, and (M, 2) m/s^2 over the last two; 0 where unknown."""
    velocities = np.diff(past, axis=1) / step
    seen = known[:, 1:] & known[:, :-1]
    acceleration = (velocities[:, -1] - velocities[:, -2]) / step
    return (
        velocities[:, -1] * seen[:, -1:],
        acceleration * (seen[:, -1] & seen[:, -2])[:, None],
    )


MOTION_MODELS = {
    'stationary': _stationary,
    'constant velocity': _constant_velocity,
    'constant acceleration': _constant_acceleration,
    'constant velocity, 0.5 m/s of noise an axis': _noisy_velocity,
}
"""Name -> function of past positions (M, T, 2) with T of 3 or more, which of them are known (M, T),
times ahead (F,) s and the seconds of a past step, to future positions (M, F, 2). Velocity and
acceleration are 0 where too few positions are known."""
