"""What transforms leave of clouds and maps, and what they say is sent."""

import numpy as np
import pytest
from mmdet3d.registry import TRANSFORMS

from turbotrain.structures import pose_to_matrix

LOAD = [dict(type='LoadCooperativePoints'), dict(type='LoadVectorMap'),
        dict(type='ProjectPointsToEgo')]  # fmt: skip


def test_early_fusion_sends_the_points_of_the_current_clouds(make_dataset):
    sample = make_dataset(pipeline=LOAD)[0]
    frames = sample['agents'].num_frames
    counts = [len(cloud) for cloud in sample['points'][2 * frames - 1 :: frames]]
    before = [len(cloud) for cloud in sample['points'][frames::frames]]
    merged = TRANSFORMS.build(dict(type='MergeAgentPoints'))(sample)
    assert merged['message_bytes'] == [16 * count for count in counts]
    assert counts != before and min(counts) > 0


def test_no_point_beyond_the_range_stays(make_dataset):
    limits = [-20, -12, -5, 20, 12, 3]
    sample = make_dataset(pipeline=LOAD)[0]
    low, high = np.array(limits[:3]), np.array(limits[3:])

    def outside(cloud: np.ndarray) -> int:
        return int(((cloud[:, :3] < low) | (cloud[:, :3] > high)).any(axis=1).sum())

    before = [(len(cloud), outside(cloud)) for cloud in sample['points']]
    assert sum(out for _, out in before) > 0
    transform = TRANSFORMS.build(dict(type='CooperativeRangeFilter', point_cloud_range=limits))
    after = transform(sample)['points']
    assert not any(outside(cloud) for cloud in after)
    assert [len(cloud) for cloud in after] == [count - out for count, out in before]


@pytest.mark.parametrize(('radius', 'kept'), [(5.0, [0]), (80.0, [0, 1]), (500.0, [0, 1, 2])])
def test_lanes_near_the_ego_stay(radius, kept):
    transform = TRANSFORMS.build(dict(type='LoadVectorMap', radius=radius))
    polylines = np.zeros((3, 10, 7))
    polylines[:, :, 0] = 100 + np.array([2.0, 40.0, 200.0])[:, None]
    polylines[:, :, 6] = np.arange(3)[:, None]
    mask = np.ones((3, 10), dtype=bool)
    transform._maps['roads'] = polylines, mask, polylines[..., :2].mean(axis=1).T
    ego = pose_to_matrix([100.0, 0, 0, 0, 90, 0])
    found = transform(dict(map_path='roads', backend_args=None, world_from_ego=ego))
    assert found['vector_map'][:, 0, 6].tolist() == kept
    # Ahead in the world's x is to the right of who looks along y.
    np.testing.assert_allclose(found['vector_map'][0, 0, :2], [0, -2], atol=1e-6)
