"""Objects that move."""

import numpy as np
from torch import nn


def let_move(detector: nn.Module) -> None:
    """Have the heads of an untrained detector say that all boxes move, each in its own way.

    They begin with objects that stand still, of which all that can be compared is zero.
    """
    nn.init.normal_(detector.velocity_head.rest.weight, std=0.3)
    nn.init.constant_(detector.velocity_head.moving.bias, 9.0)
    nn.init.normal_(detector.trajectory_head.residual.weight, std=0.1)


def objects(count: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = rng.uniform([-20, -20, 0.5], [40, 20, 1.5], (count, 3))
    angles = np.column_stack([np.zeros(count), rng.uniform(-180, 180, count), np.zeros(count)])
    return centres, angles, rng.uniform([1.5, 0.6, 0.5], [3, 1.2, 1.2], (count, 3))
