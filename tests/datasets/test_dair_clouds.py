"""Where clouds of DAIR-V2X-C and V2X-Seq lie, and the scale of their intensities."""

import numpy as np
import pytest

from tests.dair import Frame, Pair, box, open_as, put, write_set
from tests.layouts import write_pcd
from turbotrain.datasets import build_infos
from turbotrain.datasets.transforms.loading import LoadCooperativePoints


def test_clouds_of_both_sides_come_in_one_scale(tmp_path):
    root = write_set(
        tmp_path, 'v2x_seq', [Frame(200, 0)], [Frame(10, 0)], [Pair(200, 10)], labels={200: []}
    )
    points = np.array([[5, 1, -2, 0.2], [6, 2, -2, 1.0], [np.nan, 0, 0, 0.5]], dtype='<f4')
    bright = points * np.float32([1, 1, 1, 255])
    put(root / 'cooperative/label/000200.json', [box('v2x_seq')])
    for encoding in ('ascii', 'binary', 'binary_compressed'):
        for path, values in (('vehicle', bright), ('infrastructure', points)):
            (folder,) = (root / f'{path}-side/velodyne').glob('*.pcd')
            write_pcd(folder, values, encoding, packed_rgb=False)
        data = open_as(root, 'v2x_seq', num_history=0, num_future=0)
        data = data[0]['inputs']['points']
        np.testing.assert_allclose(data[:, 3], [0.2, 1.0, 0.2, 1.0], atol=1e-6)


def test_clouds_in_the_folder_of_their_own_archive(tmp_path):
    root = write_set(tmp_path, 'dair_v2x_c', [Frame(200, 0)], [Frame(10, 0)], [Pair(200, 10)])
    for side in ('vehicle', 'infrastructure'):
        apart = root / f'cooperative-vehicle-infrastructure-{side}-side-velodyne'
        (root / f'{side}-side/velodyne').rename(apart)
    assert all(build_infos(str(root), 'train', 'dair_v2x_c').cloud != '')


@pytest.mark.parametrize(('bytes_', 'brightest'), [(True, 255.0), (True, 1.0), (False, 255.0)])
def test_intensities_above_one_are_taken_for_bytes_where_a_set_has_both(bytes_, brightest):
    points = np.array([[9, 0, 0, 0], [9, 1, 0, brightest]], np.float32)
    load = LoadCooperativePoints(zero_intensity=False)
    expected = [0.0, brightest / 255 if bytes_ and brightest > 1 else brightest]
    assert load.clean(points, bytes_)[:, 3].tolist() == expected
