"""Which anchors learn which object."""

from typing import Any

import torch
from mmdet.models.task_modules import AssignResult
from mmdet3d.models.task_modules import Max3DIoUAssigner
from mmdet3d.registry import TASK_UTILS
from torch import Tensor

__all__ = ['BatchedMax3DIoUAssigner']


@TASK_UTILS.register_module()
class BatchedMax3DIoUAssigner(Max3DIoUAssigner):
    """mmdet3d's assigner, with the same result, that looks at all objects at once.

    Of each object, mmdet's asks the device whether its best anchor is good enough: a GPU is waited
    for as often as there are objects in a batch.

    Args:
        match_low_quality: whether an object's best anchors learn it, too, if they overlap by
            ``min_pos_iou``; of several objects the last one has an anchor.
        kwargs: of :class:`Max3DIoUAssigner`.
    """

    def __init__(self, *, match_low_quality: bool = True, **kwargs: Any) -> None:
        super().__init__(match_low_quality=False, **kwargs)  # done below, at once
        self.match_best = match_low_quality

    def assign_wrt_overlaps(self, overlaps: Tensor, gt_labels: Tensor) -> AssignResult:
        """Assign by the overlaps (K, N) of objects and anchors.

        Args:
            overlaps: IoU.
            gt_labels: (K,) int64.
        """
        found = super().assign_wrt_overlaps(overlaps, gt_labels)
        if not self.match_best or not overlaps.numel():
            return found
        best, at = overlaps.max(dim=1, keepdim=True)
        if self.gt_max_assign_all:
            matches = overlaps == best
        else:
            matches = torch.zeros_like(overlaps, dtype=torch.bool).scatter_(1, at, True)
        matches &= best >= self.min_pos_iou
        number = torch.arange(1, len(overlaps) + 1, dtype=torch.int32, device=overlaps.device)
        last = torch.where(matches, number[:, None], 0).amax(dim=0).long()  # 0 for none
        found.gt_inds = torch.where(last > 0, last, found.gt_inds)
        found.labels = torch.where(last > 0, gt_labels[(last - 1).clamp(min=0)], found.labels)
        return found
