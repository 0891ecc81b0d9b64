"""What a model has found, as NumPy arrays in the frame that is asked for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData

from ..errors import SettingError
from ..models.box_motion import move_boxes, move_paths, turn

__all__ = ['FRAMES', 'arrays_of']

FRAMES = ('ego', 'world')


def arrays_of(
    found: InstanceData, class_names: Sequence[str], world_from_ego: np.ndarray, frame: str = 'ego'
) -> dict[str, Any]:
    """Detections and forecasts under the names that prediction files have for them.

    Args:
        found: ``pred_instances_3d`` of P detections.
        class_names: of the labels.
        world_from_ego: (4, 4) the ego's pose.
        frame: ``ego``, the ego's LiDAR at its newest cloud, or ``world``, that of the poses.

    Returns:
        ``boxes`` (P, 7) x, y, z of the bottom's centre, length, width, height (m) and yaw (rad);
        ``scores`` (P,) and ``labels``, P names; from a model that tells them ``velocity`` (P, 2)
        m/s, ``trajectories`` (P, K, F, 2) m and ``trajectory_scores`` (P, K). float64 in the world,
        where float32 is too coarse for large coordinates, else float32.

    Raises:
        SettingError: the frame is neither.
    """
    if frame not in FRAMES:
        raise SettingError(f'frame: expected one of {FRAMES}, got {frame!r}')
    boxes = found.bboxes_3d.tensor.detach().cpu()
    keys = ('velocity', 'trajectories', 'trajectory_scores')
    more = {key: found[key].detach().cpu() for key in keys if key in found}
    if frame == 'world':
        pose, boxes = torch.from_numpy(world_from_ego), boxes.double()
        heights = (boxes[:, 2] + boxes[:, 5] / 2)[:, None, None]
        boxes = move_boxes(pose, boxes)
        if 'velocity' in more:
            more['velocity'] = turn(pose, more['velocity'].double())
        if 'trajectories' in more:
            more['trajectories'] = move_paths(pose, more['trajectories'].double(), heights)
    return dict(
        boxes=boxes.numpy(),
        scores=found.scores_3d.detach().cpu().numpy(),
        labels=[class_names[label] for label in found.labels_3d.tolist()],
        **{key: value.numpy() for key, value in more.items()},
    )
