"""What the soak run calls flat; the run itself takes hours and is a command."""

import numpy as np

from tools.endurance.soak import MIN_SAMPLES, TOLERANCE, drift


def memory(samples: int, growth: float = 0.0) -> np.ndarray:
    """MB of a process that is seen anywhere in its steps, the first of which take more to start."""
    rng = np.random.default_rng(0)
    trend = 450 * np.linspace(1.0, 1.0 + growth, samples)
    trend[: samples // 20] = 250
    return trend + rng.choice([0, 200], samples, p=[0.8, 0.2]) + rng.normal(0, 3, samples)


def test_activations_that_come_and_go_are_flat_and_a_leak_is_not():
    assert drift(memory(1200)) < TOLERANCE
    assert drift(memory(1200, growth=0.1)) > TOLERANCE
    assert drift(memory(MIN_SAMPLES, growth=0.2)) > TOLERANCE


def test_a_process_that_jumps_up_late_is_not_flat():
    values = memory(1200)
    values[1100:] *= 1.05
    assert drift(values) > TOLERANCE
