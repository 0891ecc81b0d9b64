"""One object, one confident detection."""

from mmcv.ops import nms_rotated
from mmengine.structures import InstanceData

__all__ = ['demote_duplicates']


def demote_duplicates(found: InstanceData, iou_thr: float, factor: float) -> InstanceData:
    """Lower the scores of detections that overlap a better one, of whatever class.

    Suppression works class by class in mmdet3d's heads, so that a vehicle and a truck both stay on
    one object, and it lets boxes overlap some. One of them is a false alarm, but which class and
    which box is right is not certain: the weaker one is kept and believed less.

    Source: soft suppression goes back to Soft-NMS (Bodla et al., ICCV 2017). To lower the scores of
    all that class-agnostic suppression would drop by one factor is our choice.

    Args:
        found: detections of a sample, ``bboxes_3d`` and ``scores_3d`` among their fields.
        iou_thr: IoU seen from above from which two detections are of one object.
        factor: of the scores.

    Returns:
        The detections with their new scores, the best first.
    """
    if not len(found):
        return found
    scores = found.scores_3d
    boxes = found.bboxes_3d.bev.to(scores.device)
    best = nms_rotated(boxes, scores.float(), iou_thr)[1]
    demoted = factor * scores
    demoted[best] = scores[best]
    found.scores_3d = demoted
    return found[demoted.argsort(descending=True, stable=True)]
