"""Objects that move."""

import numpy as np


def objects(count: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = rng.uniform([-20, -20, 0.5], [40, 20, 1.5], (count, 3))
    angles = np.column_stack([np.zeros(count), rng.uniform(-180, 180, count), np.zeros(count)])
    return centres, angles, rng.uniform([1.5, 0.6, 0.5], [3, 1.2, 1.2], (count, 3))
