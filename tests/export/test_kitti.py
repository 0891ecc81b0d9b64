"""KITTI files, read by mmdet3d's own converter and data set."""

import sys

import numpy as np
from mmdet3d.registry import DATASETS

from tests.export.exports import (
    KITTI,
    SIZES,
    SPLITS,
    assert_same_boxes,
    expected,
    export,
    infos_of,
    perfect,
)


def test_kitti_as_mmdet3d_reads_it(root, converters, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert export(monkeypatch, 'kitti', infos_of(root), tmp_path / 'kitti') == 0
    converters.kitti_converter.create_kitti_info_file('kitti', 'kitti')
    for split in SPLITS:
        path = f'kitti/kitti_infos_{split}.pkl'
        converters.update_infos_to_v2.update_pkl_infos('kitti', out_dir='kitti', pkl_path=path)
    names = ('Car', 'Pedestrian', 'Truck')
    for split in SPLITS:
        folder = 'testing' if split == 'test' else 'training'
        dataset = DATASETS.build(dict(
            type='KittiDataset', data_root='kitti', ann_file=f'kitti_infos_{split}.pkl',
            data_prefix=dict(pts=f'{folder}/velodyne'), metainfo=dict(classes=names),
            test_mode=split == 'test', filter_empty_gt=False,
            pipeline=[
                dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=4, use_dim=4),
                *[dict(type='LoadAnnotations3D')] * (split != 'test'),
            ],
        ))  # fmt: skip
        truth = expected(root, split)
        assert len(dataset) == len(truth) == SIZES[split]
        for item, info in zip(dataset, truth, strict=True):
            np.testing.assert_array_equal(item['points'].tensor.numpy(), info['cloud'])
            if split == 'test':  # KITTI has no labels there: mmdet3d does not look for them
                continue
            assert_same_boxes(item['gt_bboxes_3d'], info)
            labels = [names.index(KITTI[info['classes'][i]]) for i in info['gt_labels_3d']]
            assert item['gt_labels_3d'].tolist() == labels


def test_the_pictures_of_kitti_s_boxes(root, tmp_path, monkeypatch):
    """A 2D box holds the 3D box's points that the camera sees, and touches them on each side."""
    export(monkeypatch, 'kitti', infos_of(root, 'val'), tmp_path)
    calibration = dict(
        line.split(': ') for line in (tmp_path / 'training/calib/500000.txt').open() if line.strip()
    )
    project, move = (
        np.array(calibration[key].split(), float).reshape(3, 4) for key in ('P2', 'Tr_velo_to_cam')
    )
    (info, *_), rows = expected(root, 'val'), (tmp_path / 'training/label_2/500000.txt').read_text()
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 41)] * 3), -1).reshape(-1, 3)
    seen = 0
    for row, own in zip(rows.splitlines(), info['gt_bboxes_3d'], strict=True):
        cos, sin = np.cos(own[6]), np.sin(own[6])
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        points = (grid * own[3:6]) @ turn.T + own[:3] + [0, 0, own[5] / 2]
        camera = np.pad(points @ move[:, :3].T + move[:, 3], ((0, 0), (0, 1)), constant_values=1)
        pixels = (camera @ project.T)[camera[:, 2] > 0.1]
        pixels = pixels[:, :2] / pixels[:, 2:]
        inside = ((pixels >= 0) & (pixels <= [1242, 375])).all(axis=1)
        found, truncated = np.array(row.split()[4:8], float), float(row.split()[1])
        if inside.all() and len(pixels) == len(points):
            expected_box = [*pixels.min(axis=0), *pixels.max(axis=0)]
            np.testing.assert_allclose(found, expected_box, atol=1e-2)
            assert truncated == 0
            seen += 1
        elif not inside.any():
            assert not found.any() and truncated == 1
        else:
            assert 0 < truncated < 1 and (found >= 0).all() and (found <= [1242, 375] * 2).all()
    assert 0 < seen < len(info['gt_bboxes_3d'])


def test_predictions_as_kitti_s_results(root, converters, tmp_path, monkeypatch):
    data = sys.modules[f'{converters.__name__}.kitti_data_utils']
    words = '--predictions', perfect(root, 'val', tmp_path / 'found.jsonl')
    assert export(monkeypatch, 'kitti', infos_of(root, 'val'), tmp_path / 'out', *words) == 0
    export(monkeypatch, 'kitti', infos_of(root, 'val'), tmp_path / 'truth')
    names = [path.name for path in sorted((tmp_path / 'out').glob('*.txt'))]
    assert names == [f'{500_000 + i}.txt' for i in range(3)]
    for name in names[:-1]:
        found = data.get_label_anno(tmp_path / 'out' / name)
        truth = data.get_label_anno(tmp_path / 'truth/training/label_2' / name)
        for key in ('bbox', 'dimensions', 'location', 'rotation_y', 'alpha'):
            # Predictions are float32: pixels of what is near move with their last digits.
            np.testing.assert_allclose(found[key], truth[key], atol=1e-2 * (key == 'bbox') + 1e-3)
        assert found['name'].tolist() == truth['name'].tolist()
        np.testing.assert_allclose(found['score'], np.linspace(0.9, 0.5, 9), atol=1e-6)
    assert (tmp_path / 'out' / names[-1]).read_text() == ''
