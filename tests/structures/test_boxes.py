import numpy as np
import pytest
import torch
from mmdet3d.models.layers import nms_bev
from mmdet3d.structures import LiDARInstance3DBoxes, xywhr2xyxyr

from tests.golden import load_golden
from turbotrain.structures import (
    boxes_from_world,
    corners_inside,
    corners_of,
    invert_rigid,
    matrix_to_pose,
    pose_to_matrix,
)

GT_RANGE = [-70.4, -40, -15, 70.4, 40, 15]
# Rule -> range and corners that must be inside.
RULES = dict(v2xpnp=(GT_RANGE, 8), v2xreal=([-100, -40, -15, 100, 40, 15], 2))


def golden_boxes(ids: list[str]) -> np.ndarray:
    case = load_golden()['v2xpnp']
    objects = [case['objects'][i] for i in ids]
    centres = np.array([np.add(o['location'], o['center']) for o in objects])
    angles = np.array([o['angle'] for o in objects])
    extents = np.array([o['extent'] for o in objects])
    ego = pose_to_matrix(case['x1_to_x2']['x2'])
    return boxes_from_world(centres, angles, extents, ego)


def from_hwl(row: list[float]) -> list[float]:
    x, y, z, h, w, length, yaw = row[:7]
    return [x, y, z - h / 2, length, w, h, yaw]


def test_golden_projection():
    expected = load_golden()['v2xpnp']['project_world_objects_bigrange_hwl']
    ids = list(expected)
    # The authors' values went through float32 corners.
    np.testing.assert_allclose(
        golden_boxes(ids), [from_hwl(expected[i][0]) for i in ids], atol=5e-6
    )


def test_golden_corners():
    expected = load_golden()['v2xpnp']
    corners = np.array(expected['boxes_to_corners_3d_hwl'])
    ours = corners_of(golden_boxes(list(expected['project_world_objects_bigrange_hwl'])))
    # As sets: their order starts at another corner.
    for own, theirs in zip(ours, corners, strict=True):
        distance = np.linalg.norm(own[:, None] - theirs[None], axis=-1)
        assert distance.min(axis=0).max() < 1e-5


@pytest.mark.parametrize('rule', list(RULES))
def test_golden_range_filter(rule):
    limits, corners = RULES[rule]
    ids = list(load_golden()['v2xpnp']['objects'])
    kept = corners_inside(golden_boxes(ids), limits) >= corners
    expected = load_golden()[rule]['project_world_objects_hwl']
    assert [i for i, keep in zip(ids, kept, strict=True) if keep] == list(expected)


@pytest.mark.parametrize('rule', list(RULES))
def test_golden_range_mask_in_the_plane(rule):
    # The mask of evaluation: all corners inside in x and y, whatever their height.
    boxes = golden_boxes(list(load_golden()['v2xpnp']['project_world_objects_bigrange_hwl']))
    limits = RULES[rule][0]
    limits = [*limits[:2], -np.inf, *limits[3:5], np.inf]
    mask = corners_inside(boxes, limits) == 8
    assert mask.tolist() == load_golden()[rule]['within_range_mask_hwl']


def test_golden_rotated_nms():
    case = load_golden()['v2xpnp']
    boxes = np.array([from_hwl(row) for row in case['iou']['boxes_hwl']])
    bev = torch.tensor(boxes[:, [0, 1, 3, 4, 6]], dtype=torch.float32)
    scores = torch.tensor(case['nms_rotated']['scores'])
    # mmdet3d's, which the detection heads use, takes corners and an angle.
    kept = nms_bev(xywhr2xyxyr(bev), scores, case['nms_rotated']['thr'])
    assert sorted(kept.tolist()) == sorted(case['nms_rotated']['keep'])


def test_corners_equal_mmdet3ds():
    rng = np.random.default_rng(0)
    boxes = np.column_stack(
        [rng.uniform(-9, 9, (20, 3)), rng.uniform(1, 5, (20, 3)), rng.uniform(-4, 4, 20)]
    )
    theirs = LiDARInstance3DBoxes(torch.tensor(boxes)).corners.numpy()
    for own, other in zip(corners_of(boxes), theirs, strict=True):
        assert np.linalg.norm(own[:, None] - other[None], axis=-1).min(axis=0).max() < 1e-5


def test_moving_the_world_changes_nothing():
    rng = np.random.default_rng(1)
    poses = np.column_stack([rng.uniform(-50, 50, (30, 3)), rng.uniform(-30, 30, (30, 3))])
    extents = rng.uniform(0.3, 4, (30, 3))
    ego = pose_to_matrix([3, 4, 2, 1, 50, -2])
    motion = pose_to_matrix([120, -40, 6, 9, 77, -5])
    moved = matrix_to_pose(motion @ pose_to_matrix(poses))
    before = boxes_from_world(poses[:, :3], poses[:, 3:], extents, ego)
    after = boxes_from_world(moved[:, :3], moved[:, 3:], extents, motion @ ego)
    np.testing.assert_allclose(after, before, atol=1e-9)


def test_no_objects():
    empty = np.zeros((0, 3))
    boxes = boxes_from_world(empty, empty, empty, invert_rigid(np.eye(4)))
    assert boxes.shape == (0, 7)
    assert corners_inside(boxes, GT_RANGE).shape == (0,)
