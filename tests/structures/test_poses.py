import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.golden import load_golden
from turbotrain.structures import (
    invert_rigid,
    matrix_to_pose,
    pose_to_matrix,
    transform_points,
    yaw_of,
)


def random_poses(count: int = 50) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.column_stack([
        rng.uniform(-200, 200, (count, 3)),
        rng.uniform(-180, 180, (count, 2)),
        rng.uniform(-89, 89, count),
    ])  # fmt: skip


def test_golden_matrix():
    case = load_golden()['v2xpnp']['x_to_world']
    np.testing.assert_allclose(pose_to_matrix(case['pose']), case['matrix'], atol=1e-8)


def test_golden_relative_transform():
    case = load_golden()['v2xpnp']['x1_to_x2']
    matrix = invert_rigid(pose_to_matrix(case['x2'])) @ pose_to_matrix(case['x1'])
    np.testing.assert_allclose(matrix, case['matrix'], atol=1e-8)


def test_equals_elementary_rotations():
    for pose in random_poses():
        roll, yaw, pitch = pose[3:]
        expected = Rotation.from_euler('ZYX', [yaw, -pitch, -roll], degrees=True).as_matrix()
        np.testing.assert_allclose(pose_to_matrix(pose)[:3, :3], expected, atol=1e-12)


def test_positive_pitch_lifts_the_nose_and_positive_roll_lowers_the_left_side():
    nose = transform_points(pose_to_matrix([0, 0, 0, 0, 0, 10]), np.array([1.0, 0, 0]))
    left = transform_points(pose_to_matrix([0, 0, 0, 10, 0, 0]), np.array([0, 1.0, 0]))
    assert nose[2] > 0 > left[2]


def test_round_trip_through_a_batch():
    poses = random_poses()
    np.testing.assert_allclose(matrix_to_pose(pose_to_matrix(poses)), poses, atol=1e-9)


def test_inverse():
    matrices = pose_to_matrix(random_poses())
    np.testing.assert_allclose(
        matrices @ invert_rigid(matrices), np.tile(np.eye(4), (50, 1, 1)), atol=1e-12
    )


def test_yaw():
    assert yaw_of(pose_to_matrix([0, 0, 0, 0, 37, 0])) == pytest.approx(np.deg2rad(37))


def test_points_keep_their_other_columns_and_dtype():
    points = np.ones((3, 4), dtype=np.float32)
    moved = transform_points(pose_to_matrix([5, 0, 0, 0, 0, 0]), points)
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(moved, [[6, 1, 1, 1]] * 3)


def test_a_pose_of_another_length_is_refused():
    with pytest.raises(ValueError, match='6 numbers'):
        pose_to_matrix(np.eye(4))
