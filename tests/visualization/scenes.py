"""A scene to draw, and the pixels of a picture."""

import numpy as np

from turbotrain.structures import INFRASTRUCTURE, VEHICLE, pose_to_matrix
from turbotrain.visualization import (
    AgentView,
    BEVScene,
)

VIEW = (-40.0, -20.0, 40.0, 20.0)


def wall(x, y, count=4000):
    """A dense block of points above a patch of ground."""
    rng = np.random.default_rng(0)
    points = rng.uniform([x - 4, y - 4, 0.0, 0.0], [x + 4, y + 4, 3.0, 1.0], (count, 4))
    points[0, 2] = -1.0
    return points.astype(np.float32)


def make_scene():
    rng = np.random.default_rng(1)
    agents = [
        AgentView(
            name=f'agent {i}',
            kind=VEHICLE if i < 2 else INFRASTRUCTURE,
            ego_from_agent=pose_to_matrix(np.array([x, y, 0.0, 0.0, 30.0 * i, 0.0])),
            points=wall(x, -y),
        )
        for i, (x, y) in enumerate([(-25, -10), (-8, 10), (8, -10), (25, 10)])
    ]
    boxes = np.column_stack(
        [
            rng.uniform(-35, 35, 5),
            rng.uniform(-3, 3, 5),
            np.full(5, 4.5),
            np.full(5, 2.0),
            rng.uniform(-3, 3, 5),
        ]
    )
    steps = np.arange(1, 7)[:, None] * [1.0, 0.3]
    futures = boxes[:, None, :2] + steps
    futures[0, 2:] = np.nan
    polylines = np.zeros((3, 10, 7))
    polylines[:, :, 0] = np.linspace(-40, 40, 10)
    polylines[:, :, 1] = np.array([-2.0, 0.0, 2.0])[:, None]
    polylines[:, :, 6] = np.array([5, 1, 5])[:, None]
    return BEVScene(
        title='scenario, frame 000010',
        agents=tuple(agents),
        gt_boxes=boxes,
        gt_pasts=boxes[:, None, :2] - steps[:3][::-1],
        gt_futures=futures,
        pred_boxes=boxes + 0.3,
        pred_scores=np.linspace(0.2, 1.0, 5),
        pred_futures=np.stack([futures[1:2].repeat(5, 0), boxes[:, None, :2] + steps], axis=1),
        pred_mode_scores=np.tile([0.3, 0.7], (5, 1)),
        polylines=polylines,
        polyline_mask=np.ones((3, 10)),
    )


def pixels(figure):
    """(H, W, 3) of what was drawn, in [0, 1]."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255.0
