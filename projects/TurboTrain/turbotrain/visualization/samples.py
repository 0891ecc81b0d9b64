"""From a sample, with or without predictions, to the scene that is drawn."""

import numpy as np
import torch
from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ..evaluation import DetectionFrame, match_detections
from ..structures import VEHICLE, transform_points
from .scene import AgentView, BEVScene

__all__ = ['confident', 'first_agents', 'scene_of']


def scene_of(
    sample: Det3DDataSample,
    clouds: list[Tensor],
    score_threshold: float = 0.3,
    iou_threshold: float = 0.3,
) -> BEVScene:
    """The scene of one sample.

    Args:
        sample: as ``PackCooperativeInputs`` makes it, with or without ``pred_instances_3d``; the
            truth may be left out, and what was missed is not told then.
        clouds: its N*T clouds (P, 4), agent-major; the current ones are drawn, of the agents that
            have one.
        score_threshold: detections below it are left out.
        iou_threshold: overlap from which a detection has found an object of its class.
    """
    agents, truth = sample.agents, sample.get('gt_instances_3d')
    views = []
    for n, (agent, kind) in enumerate(zip(agents.ids, agents.kinds, strict=True)):
        if not agents.valid[n, -1]:
            continue  # not heard now, so that nobody knows where it is
        points = clouds[(n + 1) * agents.num_frames - 1].numpy()
        pose = agents.ego_from_agent[n, -1]
        points = points if agents.points_in_ego else transform_points(pose, points)
        name = 'vehicle' if kind == VEHICLE else 'roadside'
        views.append(
            AgentView('ego' if n == 0 else f'{name} {abs(agent)}', int(kind), pose, points)
        )

    predicted = {}
    if 'pred_instances_3d' in sample:
        found = confident(sample, score_threshold)
        predicted = dict(
            pred_boxes=found.bboxes_3d.bev.cpu().numpy(), pred_scores=found.scores_3d.cpu().numpy()
        )
        if truth is not None:
            predicted |= _errors(found, truth, iou_threshold)
        if 'velocity' in found:
            predicted['pred_velocities'] = found.velocity.cpu().numpy()
        if 'trajectories' in found:
            predicted['pred_futures'] = found.trajectories.cpu().numpy()
            if 'trajectory_scores' in found:  # a single mode needs none
                predicted['pred_mode_scores'] = found.trajectory_scores.cpu().numpy()
    if 'vector_map' in sample.metainfo_keys():
        predicted['polylines'] = sample.vector_map
        predicted['polyline_mask'] = sample.vector_map_mask
    if truth is not None:
        predicted |= dict(
            gt_boxes=truth.bboxes_3d.bev.cpu().numpy(),
            gt_pasts=_known(truth.history_trajectories, truth.history_valid),
            gt_futures=_known(truth.future_trajectories, truth.future_valid),
        )
    return BEVScene(
        title=f'{sample.scenario}   frame {sample.frame:06d}',
        agents=tuple(views),
        **predicted,
    )


def confident(sample: Det3DDataSample, score_threshold: float) -> InstanceData:
    """A sample's detections without those whose score is below a threshold."""
    found = sample.pred_instances_3d
    return found[found.scores_3d >= score_threshold]


def first_agents(data: dict, count: int) -> dict:
    """A packed sample as if only its first ``count`` agents were there; the ego is the first.

    Args:
        data: as ``PackCooperativeInputs`` makes it; it stays as it is.
        count: at least 1.
    """
    sample, points = data['data_samples'].clone(), data['inputs']['points']
    there = np.zeros(sample.agents.valid.shape, dtype=bool)
    there[:count] = True
    clouds = points.split(sample.num_points)
    kept = [c if ok else c[:0] for c, ok in zip(clouds, there.ravel(), strict=True)]
    sample.set_metainfo(
        dict(agents=sample.agents.only(there), num_points=[len(cloud) for cloud in kept])
    )
    return dict(inputs={**data['inputs'], 'points': torch.cat(kept)}, data_samples=sample)


def _errors(
    found: InstanceData, truth: InstanceData, iou_threshold: float
) -> dict[str, np.ndarray]:
    """What was missed, and what is not there, in the order of the instances."""
    boxes, labels = found.bboxes_3d.bev.cpu().numpy(), found.labels_3d.cpu().numpy()
    gt_boxes, gt_labels = truth.bboxes_3d.bev.cpu().numpy(), truth.labels_3d.cpu().numpy()
    scores = found.scores_3d.cpu().numpy()
    num_classes = 1 + max(labels.max(initial=0), gt_labels.max(initial=0))
    frame = DetectionFrame(boxes, scores, labels, gt_boxes, gt_labels)
    row = match_detections([frame], [iou_threshold], num_classes).ground_truth[0]
    alarms = np.empty(len(boxes), dtype=bool)
    alarms[np.argsort(-scores, kind='stable')] = row < 0  # matches are by falling score
    return dict(missed=~np.isin(np.arange(len(gt_boxes)), row), false_alarms=alarms)


def _known(positions: Tensor, valid: Tensor) -> np.ndarray:
    return np.where(valid.cpu().numpy()[..., None], positions.cpu().numpy(), np.nan)
