import numpy as np
import pytest

from tests.golden import load_golden
from turbotrain.structures import (
    Lane,
    Map,
    MapPoint,
    nearest_polylines,
    polylines_of,
    pose_to_matrix,
)


def golden_map() -> Map:
    """The fixture's recipe: four curved lanes; the boundary is the first points, shifted."""
    x = np.linspace(0, 30, 24)
    lanes = []
    for k in range(4):
        points = np.column_stack([x, 4 * k + 0.01 * x**2, 0.1 * k + 0 * x])
        lanes.append(
            Lane(
                road_id=k,
                lane_id=1,
                type=2 if k == 2 else 1,
                polyline=[MapPoint(*p) for p in points],
                boundary=[MapPoint(*p) for p in points[:7] + [0, 2, 0]],
            )
        )
    return Map(lanes)


def test_golden_polylines():
    expected = load_golden()['v2xpnp']['map']
    polylines, mask = polylines_of(golden_map())
    assert list(polylines.shape) == expected['polylines_shape']
    assert mask.sum(1).tolist() == expected['mask_sum']
    assert polylines[:, 0, 6].tolist() == expected['types']
    np.testing.assert_allclose(polylines[0], expected['first_polyline'], atol=1e-6)


def test_golden_centring():
    case = load_golden()['v2xpnp']['center_map']
    polylines, mask = polylines_of(golden_map())
    pose, boxes = np.array(case['local_centers']), np.array(case['object_local_poses'])
    yaw = np.deg2rad(pose[:, 4])
    cos, sin = np.cos(yaw), np.sin(yaw)
    centres = pose[:, :2] + np.column_stack([
        cos * boxes[:, 0] - sin * boxes[:, 1], sin * boxes[:, 0] + cos * boxes[:, 1]
    ])  # fmt: skip
    out, out_mask, means = nearest_polylines(polylines, mask, centres, yaw + boxes[:, 6])
    for i in range(len(centres)):
        # The five nearest, whose order the authors' search leaves open.
        theirs = np.array(case['center'][i])
        order = [int(np.linalg.norm(means[i] - centre, axis=1).argmin()) for centre in theirs]
        assert sorted(order) == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(means[i][order], theirs, atol=1e-5)
        np.testing.assert_array_equal(out_mask[i][order], case['mask'][i])
        np.testing.assert_allclose(out[i][order], case['polylines'][i], atol=1e-5)


def test_moving_the_world_changes_nothing_seen_from_the_object():
    polylines, mask = polylines_of(golden_map())
    centres, headings = np.array([[3.0, 4.0], [20.0, -2.0]]), np.array([0.3, -2.0])
    motion = pose_to_matrix([1e6, -4e6, 0, 0, 65, 0])
    moved = polylines.copy()
    moved[..., :3] = polylines[..., :3] @ motion[:3, :3].T + motion[:3, 3]
    moved[..., 3:6] = polylines[..., 3:6] @ motion[:3, :3].T
    before = nearest_polylines(polylines, mask, centres, headings)
    after = nearest_polylines(
        moved,
        mask,
        centres @ motion[:2, :2].T + motion[:2, 3],
        headings + np.deg2rad(65),
    )
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize('lanes', [0, 1])
def test_fewer_polylines_than_asked_for_are_masked(lanes):
    vector_map = Map(golden_map().map_features[2 : 2 + lanes])
    out, mask, _ = nearest_polylines(*polylines_of(vector_map), np.zeros((3, 2)), np.zeros(3))
    assert out.shape == (3, 5, 10, 7)
    assert mask.any(axis=(0, 2)).tolist() == [True] * (2 * lanes) + [False] * (5 - 2 * lanes)


def test_short_lanes_are_dropped():
    lane = Lane(1, 1, 1, polyline=[MapPoint(float(i), 0.0) for i in range(5)])
    assert len(polylines_of(Map([lane]))[0]) == 0
