"""From a sample, with or without predictions, to the scene that is drawn."""

import numpy as np
from mmdet3d.structures import Det3DDataSample
from torch import Tensor

from ..structures import VEHICLE, transform_points
from .scene import AgentView, BEVScene

__all__ = ['scene_of']


def scene_of(
    sample: Det3DDataSample, clouds: list[Tensor], score_threshold: float = 0.3
) -> BEVScene:
    """The scene of one sample.

    Args:
        sample: as ``PackCooperativeInputs`` makes it, with or without ``pred_instances_3d``.
        clouds: its N*T clouds (P, 4), agent-major; the current ones are drawn, of the agents that
            have one.
        score_threshold: detections below it are left out.
    """
    agents, truth = sample.agents, sample.gt_instances_3d
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
        found = sample.pred_instances_3d[sample.pred_instances_3d.scores_3d >= score_threshold]
        predicted = dict(
            pred_boxes=found.bboxes_3d.bev.cpu().numpy(), pred_scores=found.scores_3d.cpu().numpy()
        )
        if 'trajectories' in found:
            predicted['pred_futures'] = found.trajectories.cpu().numpy()
            predicted['pred_mode_scores'] = found.trajectory_scores.cpu().numpy()
    if 'vector_map' in sample.metainfo_keys():
        predicted['polylines'] = sample.vector_map
        predicted['polyline_mask'] = sample.vector_map_mask
    return BEVScene(
        title=f'{sample.scenario}   frame {sample.frame:06d}',
        agents=tuple(views),
        gt_boxes=truth.bboxes_3d.bev.cpu().numpy(),
        gt_pasts=_known(truth.history_trajectories, truth.history_valid),
        gt_futures=_known(truth.future_trajectories, truth.future_valid),
        **predicted,
    )


def _known(positions: Tensor, valid: Tensor) -> np.ndarray:
    return np.where(valid.cpu().numpy()[..., None], positions.cpu().numpy(), np.nan)
