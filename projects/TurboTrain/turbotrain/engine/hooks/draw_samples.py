"""Validation samples as pictures, so that one sees what training does."""

from collections.abc import Sequence

import numpy as np
from mmdet3d.structures import Det3DDataSample
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...visualization import draw_bev, picture_of, scene_of

__all__ = ['DrawSamplesHook']


@HOOKS.register_module()
class DrawSamplesHook(Hook):
    """Draw a few validation samples with what the model makes of them, each time it validates.

    The pictures go to the visualizer: to ``vis_data/vis_image/val_sample_{number}_{iteration}.png``
    in the run's folder, and to TensorBoard if it is among the backends. The samples are spread over
    the validation set and always the same.

    Args:
        count: how many samples.
        score_threshold: detections below it are left out.
        view_range: ``(x_min, y_min, x_max, y_max)`` in metres; by default that of the config's
            ``point_cloud_range``.
    """

    priority = 'LOW'

    def __init__(
        self,
        count: int = 3,
        score_threshold: float = 0.3,
        view_range: Sequence[float] | None = None,
    ) -> None:
        self.count = count
        self.score_threshold = score_threshold
        self.view_range = view_range

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[Det3DDataSample],
    ) -> None:
        """Draw the batch's first sample if it is one of the chosen."""
        batches = len(runner.val_dataloader)
        chosen = np.linspace(0, batches - 1, min(self.count, batches)).round()
        if not is_main_process() or batch_idx not in chosen:
            return
        clouds = data_batch['inputs']['points'][0].cpu().split(outputs[0].num_points)
        view_range = self.view_range
        if view_range is None:
            x_min, y_min, _, x_max, y_max, _ = runner.cfg.point_cloud_range
            view_range = x_min, y_min, x_max, y_max
        scene = scene_of(outputs[0], list(clouds), self.score_threshold)
        image = picture_of(draw_bev(scene, view_range))
        number = int(np.flatnonzero(chosen == batch_idx)[0])
        runner.visualizer.add_image(f'val_sample_{number}', image, step=runner.iter)
