"""What transforms leave of clouds and maps, and what they say is sent."""

from pathlib import Path

import numpy as np
import pytest
from mmdet3d.registry import TRANSFORMS

from tests.datasets.conftest import PIPELINE
from tests.layouts import write_pcd
from tests.scenes import write_scenario
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


def test_range_and_corner_rules(make_dataset):
    def kept(**rule) -> int:
        pipeline = [
            PIPELINE[0], PIPELINE[2], dict(type='CooperativeRangeFilter', **rule), PIPELINE[3]
        ]  # fmt: skip
        return len(make_dataset(pipeline=pipeline)[0]['data_samples'].gt_instances_3d)

    limits = [-20, -12, -5, 20, 12, 3]
    assert kept(point_cloud_range=limits) < kept(point_cloud_range=limits, min_corners=2)
    assert kept(point_cloud_range=limits, label_range=[-99, -99, -9, 99, 99, 9]) == 12


def test_own_bodies_are_dropped(make_dataset, tmp_path):
    folder = write_scenario(tmp_path, frames=range(1), agents=(1,), objects=1)
    edge = [[2.95, 1.1, 5, 0], [-1.95, -1.1, 0, 0], [2.96, 0, 0, 0], [0, 1.11, 0, 0], [0, 0, 9, 0]]
    np.array(edge, dtype='<f4').tofile(folder / '1' / '000000.bin')
    points = make_dataset(tmp_path, num_history=0)[0]['inputs']['points']
    np.testing.assert_allclose(points[:, :2], [[2.96, 0], [0, 1.11]], atol=1e-6)


def test_bin_clouds_come_before_pcd_ones_and_intensity_is_zeroed_on_demand(make_dataset, tmp_path):
    folder = write_scenario(tmp_path, frames=range(1), agents=(1,), objects=2)
    write_pcd(folder / '1/000000.pcd', np.full((9, 4), 5.0), 'binary')

    def read(name: str, **kwargs) -> np.ndarray:
        (tmp_path / 'infos.npz').unlink(missing_ok=True)
        pipeline = [dict(type='LoadCooperativePoints', **kwargs), PIPELINE[3]]
        sample = make_dataset(tmp_path, num_history=0, pipeline=pipeline)[0]
        assert Path(sample['data_samples'].cloud_paths[0]).name == name
        return sample['inputs']['points'].numpy()

    assert not read('000000.bin')[:, 3].any()
    assert (read('000000.bin', zero_intensity=False)[:, 3] == 0.5).all()
    (folder / '1/000000.bin').unlink()
    np.testing.assert_array_equal(read('000000.pcd', zero_intensity=False), np.full((9, 4), 5.0))
