"""A database of objects."""

import numpy as np

from turbotrain.datasets.object_database import (
    ObjectDatabase,
)


def objects() -> ObjectDatabase:
    """Two objects at three steps, with three points and one."""
    return ObjectDatabase(
        class_names=np.array(['vehicle', 'pedestrian']),
        time_offsets=np.array([-0.5, 0.0, 0.5]),
        label=np.array([0, 1]),
        size=np.full((2, 3), 1.5),
        centre=np.zeros((2, 3, 3)),
        yaw=np.zeros((2, 3)),
        known=np.ones((2, 3), dtype=bool),
        begin=np.array([0, 3, 4]),
        points=np.zeros((4, 4), dtype=np.float32),
    )
