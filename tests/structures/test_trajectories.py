import numpy as np

from tests.golden import load_golden
from turbotrain.structures import (
    interpolate_missing_points,
    last_acceleration,
    last_velocity,
)


def test_golden_interpolation():
    case = load_golden()['v2xpnp']['interpolate']
    filled = interpolate_missing_points(case['traj'], case['mask'])
    positions, mask = case['out']
    np.testing.assert_allclose(filled, positions, atol=1e-12)
    assert np.all(mask)


def test_observed_points_stay_and_a_row_of_nothing_stays():
    rng = np.random.default_rng(0)
    tracks, mask = rng.normal(size=(6, 9, 3)), rng.random((6, 9)) < 0.5
    mask[0] = False
    filled = interpolate_missing_points(tracks, mask)
    np.testing.assert_array_equal(filled[mask], tracks[mask])
    np.testing.assert_array_equal(filled[0], tracks[0])


def test_velocities_over_the_last_step():
    """2 m in half a second; unknown before, unknown now, and a history of one moment."""
    history = np.array([[[0.0, 0.0], [1.0, 1.0], [1.0, 3.0]]] * 3)
    valid = np.array([[False, True, True], [True, False, True], [True, True, False]])
    history[~valid] = np.nan
    velocity, known = last_velocity(history, valid, np.array([-1.0, -0.5, 0.0]))
    np.testing.assert_array_equal(velocity, [[0.0, 4.0], [0.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(known, [True, False, False])
    velocity, known = last_velocity(history[:, -1:], valid[:, -1:], np.zeros(1))
    assert not velocity.any() and not known.any()


def test_accelerations_over_the_last_two_steps():
    """From 2 m/s along x to 4 m/s along y within half a second; unknown with any gap."""
    history = np.array([[[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]]] * 3)
    valid = np.array([[True, True, True], [False, True, True], [True, False, True]])
    history[~valid] = np.nan
    times = np.array([-1.0, -0.5, 0.0])
    acceleration, known = last_acceleration(history, valid, times)
    np.testing.assert_array_equal(acceleration, [[-4.0, 8.0], [0.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(known, [True, False, False])
    for frames in (1, 2):
        acceleration, known = last_acceleration(
            history[:, -frames:], valid[:, -frames:], times[-frames:]
        )
        assert acceleration.shape == (3, 2) and not acceleration.any() and not known.any()
