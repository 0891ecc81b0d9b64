"""What the annotations of the agents that are heard say of the objects round the ego."""

import numpy as np

from ..structures import boxes_from_world, invert_rigid, transform_points
from .infos import Infos

__all__ = ['ground_truth', 'labelled_objects']


def ground_truth(
    infos: Infos,
    label_of_class: np.ndarray,
    ego_row: int,
    agents: np.ndarray,
    past: np.ndarray,
    future: np.ndarray,
) -> dict[str, np.ndarray]:
    """The union of the agents' labels of now, where the first agent's label wins.

    Args:
        infos: the split.
        label_of_class: (C,) label of each raw class, -1 for those to leave out.
        ego_row: row of the ego now, whose frame boxes and paths are given in.
        agents: (N,) ids of the agents that are heard, in the order in which their labels count.
        past: (T,) frame numbers, the current one last.
        future: (F,) frame numbers.

    Returns:
        ``gt_bboxes_3d`` (M, 7), ``gt_labels_3d`` and ``gt_track_ids`` (M,),
        ``gt_history_trajectories`` (M, T, 2) and ``gt_future_trajectories`` (M, F, 2), metres, 0
        where ``gt_history_valid`` and ``gt_future_valid`` are false.
    """
    world_from_ego = infos.world_from_agent[ego_row]
    seen = labelled_objects(infos, label_of_class, ego_row, agents)
    ids = infos.object_id[seen]
    found = dict(
        gt_bboxes_3d=boxes_from_world(
            infos.object_centre[seen],
            infos.object_angle[seen],
            infos.object_extent[seen],
            world_from_ego,
        ),
        gt_labels_3d=label_of_class[infos.object_class[seen]],
        gt_track_ids=ids,
    )
    scenario = int(infos.scenario[ego_row])
    positions, known = infos.track(scenario, ids, np.concatenate([past, future]), agents)
    in_ego = transform_points(invert_rigid(world_from_ego), positions)[..., :2] * known[..., None]
    now = len(past)
    for name, part in (('history', np.s_[:, :now]), ('future', np.s_[:, now:])):
        found[f'gt_{name}_trajectories'] = in_ego[part]
        found[f'gt_{name}_valid'] = known[part]
    return found


def labelled_objects(
    infos: Infos, label_of_class: np.ndarray, ego_row: int, agents: np.ndarray
) -> np.ndarray:
    """(M,) rows of the objects that the agents see now, each as the first agent labels it.

    Args are those of :func:`ground_truth`.
    """
    scenario, frame = int(infos.scenario[ego_row]), int(infos.frame[ego_row])
    rows = infos.rows(scenario, agents, [frame])[:, 0]
    there = rows[rows >= 0]
    seen = np.concatenate([np.arange(*infos.object_begin[row : row + 2]) for row in there])
    seen = seen[label_of_class[infos.object_class[seen]] >= 0]
    _, first = np.unique(infos.object_id[seen], return_index=True)
    return seen[np.sort(first)]
