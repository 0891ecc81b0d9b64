"""One draw moves clouds, poses, boxes, paths and lanes alike, wherever the transform stands."""

import numpy as np
import pytest
from mmdet3d.structures.ops.box_np_ops import points_in_rbbox

from turbotrain.datasets import V2XPnPDataset, build_infos, save_infos
from turbotrain.structures import transform_points

LOAD = [dict(type='LoadCooperativePoints', body_mask=None), dict(type='LoadVectorMap')]
PROJECT = dict(type='ProjectPointsToEgo')
SETTINGS = [
    dict(flip_probability=1.0, rotation=0.0, scale=(1.0, 1.0)),
    dict(flip_probability=0.0, rotation=0.7, scale=(1.0, 1.0)),
    dict(flip_probability=0.0, rotation=0.0, scale=(1.2, 1.2)),
    dict(flip_probability=1.0, rotation=3.0, scale=(0.8, 1.25)),
]


@pytest.fixture(scope='module')
def make(tiny_set, tmp_path_factory):
    path = tmp_path_factory.mktemp('infos') / 'train.npz'
    save_infos(str(path), build_infos(str(tiny_set), 'train'))

    def make(*transforms: dict) -> V2XPnPDataset:
        pipeline = [*LOAD, *transforms]
        return V2XPnPDataset(
            str(path), str(tiny_set), num_history=2, num_future=3, pipeline=pipeline
        )

    return make


@pytest.fixture(params=SETTINGS, ids=['flip', 'rotation', 'scale', 'all'])
def augment(request) -> dict:
    return dict(type='CooperativeGlobalAugmentation', **request.param)


def clouds_in_ego(results: dict) -> list[np.ndarray]:
    poses = results['agents'].ego_from_agent.reshape(-1, 4, 4)
    if results['agents'].points_in_ego:
        return [cloud.astype(np.float64) for cloud in results['points']]
    pairs = zip(poses, results['points'], strict=True)
    return [transform_points(pose, cloud.astype(np.float64)) for pose, cloud in pairs]


def motion_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The affine map that takes the one cloud to the other, by least squares."""
    ones = np.ones((len(before), 1))
    solution, *_ = np.linalg.lstsq(np.hstack([before[:, :3], ones]), after[:, :3], rcond=None)
    return np.vstack([solution.T, [0, 0, 0, 1]])


def test_everything_is_moved_by_one_motion(make, augment):
    i = 4
    plain, moved = make()[i], make(augment)[i]
    one, other = clouds_in_ego(plain), clouds_in_ego(moved)
    motion = motion_between(one[2], other[2])
    factor = np.cbrt(abs(np.linalg.det(motion[:3, :3])))
    np.testing.assert_allclose(motion[:3, :3] @ motion[:3, :3].T, factor**2 * np.eye(3), atol=1e-4)
    assert not np.allclose(motion, np.eye(4), atol=1e-3)
    for before, after in zip(one, other, strict=True):
        np.testing.assert_allclose(transform_points(motion, before), after, atol=2e-3)
    for name in ('gt_history_trajectories', 'gt_future_trajectories'):
        np.testing.assert_allclose(plain[name] @ motion[:2, :2].T, moved[name], atol=2e-3)
    for name in ('gt_history_valid', 'gt_future_valid', 'gt_track_ids', 'gt_labels_3d'):
        np.testing.assert_array_equal(plain[name], moved[name])
    np.testing.assert_allclose(moved['agents'].speeds, plain['agents'].speeds * factor, rtol=1e-4)
    mask = plain['vector_map_mask']
    lines, there = moved['vector_map'], plain['vector_map']
    np.testing.assert_allclose(
        lines[..., :3], transform_points(motion, there)[..., :3] * mask[..., None], atol=5e-3
    )
    ahead = np.einsum('ij,lpj->lpi', motion[:3, :3] / factor, there[..., 3:6])
    np.testing.assert_allclose(lines[..., 3:6], ahead, atol=1e-3)
    np.testing.assert_array_equal(lines[..., 6], there[..., 6])
    assert not lines[~mask].any()


@pytest.mark.parametrize('first', [[], [PROJECT]])
def test_future_points_move_along(make, augment, first):
    later = dict(type='LoadFuturePoints', body_mask=None)
    plain, moved = make(later, *first)[4], make(later, *first, augment)[4]
    motion = motion_between(clouds_in_ego(plain)[2], clouds_in_ego(moved)[2])
    for before, after in zip(plain['future_points'], moved['future_points'], strict=True):
        np.testing.assert_allclose(transform_points(motion, before), after, atol=2e-3)


def test_boxes_hold_the_same_points_and_keep_their_heading(make, augment):
    for i in (2, 6):
        plain, moved = make(PROJECT)[i], make(PROJECT, augment)[i]
        inside = []
        for results in (plain, moved):
            boxes = results['gt_bboxes_3d'] * [1, 1, 1, 1.01, 1.01, 1.01, 1]
            cloud = np.concatenate(results['points'][2::3]).astype(np.float64)
            inside.append(points_in_rbbox(cloud, boxes, origin=(0.5, 0.5, 0)).sum(axis=0))
        assert inside[0].sum() > 200
        # A point on a wall may fall to the other side.
        np.testing.assert_allclose(inside[1], inside[0], atol=3, rtol=0.02)
        # The box heads where its path leads.
        motion = motion_between(clouds_in_ego(plain)[2], clouds_in_ego(moved)[2])
        yaw = plain['gt_bboxes_3d'][:, 6]
        ahead = np.column_stack([np.cos(yaw), np.sin(yaw)]) @ motion[:2, :2].T
        theirs = moved['gt_bboxes_3d'][:, 6]
        cosine = ahead[:, 0] * np.cos(theirs) + ahead[:, 1] * np.sin(theirs)
        np.testing.assert_allclose(cosine, np.linalg.norm(ahead, axis=1), atol=1e-4)


def test_it_may_stand_before_or_after_the_projection(make, augment):
    one, other = make(augment, PROJECT)[4], make(PROJECT, augment)[4]
    for before, after in zip(one['points'], other['points'], strict=True):
        np.testing.assert_allclose(before, after, atol=2e-3)
    np.testing.assert_allclose(
        one['agents'].ego_from_agent, other['agents'].ego_from_agent, atol=1e-9
    )
