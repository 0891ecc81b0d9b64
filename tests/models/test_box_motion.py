"""Boxes and paths in other frames and at later times, against annotations projected directly."""

import math

import numpy as np
import torch

from tests.models.movers import objects
from turbotrain.models import VectorMaps
from turbotrain.models.box_motion import advance, move_boxes, move_paths
from turbotrain.structures import (
    boxes_from_world,
    invert_rigid,
    pose_to_matrix,
    transform_points,
)

FLAT = pose_to_matrix([[3, -8, 1.9, 0, 40, 0], [20, 5, 4.1, 0, -110, 0]])
TILTED = pose_to_matrix([[3, -8, 1.9, 1.5, 40, -2], [20, 5, 4.1, -1, -110, 2]])


def same_heading(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    return bool(((a - b + math.pi) % (2 * math.pi) - math.pi).abs().max() < tolerance)


def test_boxes_are_those_that_the_other_agent_would_label():
    for poses, tolerance in ((FLAT, 1e-4), (TILTED, 0.05)):
        in_a, in_b = (torch.from_numpy(boxes_from_world(*objects(), pose)) for pose in poses)
        b_from_a = torch.from_numpy(invert_rigid(poses[1]) @ poses[0])
        moved = move_boxes(b_from_a, in_a.float())
        torch.testing.assert_close(moved[:, :6], in_b[:, :6].float(), atol=tolerance, rtol=0)
        assert same_heading(moved[:, 6], in_b[:, 6].float(), tolerance)


def test_one_set_of_boxes_for_several_agents():
    boxes = torch.from_numpy(boxes_from_world(*objects(), FLAT[0])).float()
    transforms = torch.from_numpy(invert_rigid(FLAT) @ FLAT[0])
    moved = move_boxes(transforms[:, None], boxes)
    for row, transform in enumerate(transforms):
        torch.testing.assert_close(moved[row], move_boxes(transform, boxes))
    torch.testing.assert_close(moved[0], boxes, atol=1e-4, rtol=0)


def test_paths_follow_the_points_even_of_tilted_agents():
    rng = np.random.default_rng(1)
    points = rng.uniform(-30, 30, (5, 6, 3))
    points[..., 2] = rng.uniform(-2, 1, (5, 1))
    b_from_a = invert_rigid(TILTED[1]) @ TILTED[0]
    moved = move_paths(
        torch.from_numpy(b_from_a),
        torch.from_numpy(points[..., :2]),
        torch.from_numpy(points[:, :1, 2]),
    )
    np.testing.assert_allclose(moved, transform_points(b_from_a, points)[..., :2], atol=1e-9)


def test_mixed_precision_keeps_centimetres():
    boxes = torch.from_numpy(boxes_from_world(*objects(), TILTED[0])).float()
    b_from_a = torch.from_numpy(invert_rigid(TILTED[1]) @ TILTED[0])
    lines = VectorMaps(100 * torch.rand(1, 4, 10, 7), torch.ones(1, 4, 10).bool())
    expected = [
        move_boxes(b_from_a, boxes),
        move_paths(b_from_a, boxes[:, :2], boxes[:, 2]),
        lines.moved(b_from_a[None]).polylines,
    ]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = [
            move_boxes(b_from_a, boxes),
            move_paths(b_from_a, boxes[:, :2], boxes[:, 2]),
            lines.moved(b_from_a[None]).polylines,
        ]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def test_later_by_hand():
    centres = torch.zeros(3, 2)
    ahead = torch.arange(1.0, 4.0)[:, None] * torch.tensor([2.0, 0.0])
    bend = torch.tensor([[0.0, 1.0], [0.0, 3.0], [0.0, 6.0]])
    paths = torch.stack([ahead, bend]).expand(3, -1, -1, -1)
    scores = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    now, then = advance(centres, paths, scores, torch.tensor([0.0, 0.5, 1.5]))
    torch.testing.assert_close(now, torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]))
    torch.testing.assert_close(then[0], paths[0])
    torch.testing.assert_close(then[1, 0], ahead + torch.tensor([1.0, 0.0]))
    # Between known positions first, then on at the last one's speed.
    torch.testing.assert_close(then[2, 1], torch.tensor([[0.0, 4.5], [0.0, 7.5], [0.0, 10.5]]))


def test_no_boxes():
    none = torch.zeros(0, 7)
    assert move_boxes(torch.eye(4).expand(0, 4, 4), none).shape == (0, 7)
    now, then = advance(none[:, :2], torch.zeros(0, 2, 6, 2), torch.zeros(0, 2), torch.zeros(0))
    assert now.shape == (0, 2)
    assert then.shape == (0, 2, 6, 2)
