"""nuScenes files, read by mmdet3d's own converter and data set and by nuScenes' devkit."""

from pathlib import Path

import numpy as np
import pytest
from mmdet3d.registry import DATASETS
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.loaders import load_prediction
from nuscenes.eval.detection.data_classes import DetectionBox
from nuscenes.eval.detection.evaluate import DetectionEval
from nuscenes.nuscenes import NuScenes

from tests.dair import Frame, Pair, box, write_set
from tests.export.exports import (
    NUSCENES,
    SIZES,
    SPLITS,
    assert_same_boxes,
    expected,
    export,
    infos_of,
    perfect,
)
from turbotrain.datasets import build_infos, save_infos
from turbotrain.errors import UserError


@pytest.fixture(scope='module')
def nuscenes(root, tmp_path_factory) -> Path:
    """Where mmdet3d looks for it."""
    folder = tmp_path_factory.mktemp('nuscenes')
    with pytest.MonkeyPatch.context() as patch:
        assert export(patch, 'nuscenes', infos_of(root), folder / 'data/nuscenes') == 0
    return folder


def test_nuscenes_as_mmdet3d_reads_it(root, nuscenes, converters, monkeypatch, capsys):
    monkeypatch.chdir(nuscenes)
    for version, splits in (('v1.0-trainval', ('train', 'val')), ('v1.0-test', ('test',))):
        converters.nuscenes_converter.create_nuscenes_infos('data/nuscenes', 'own', version, 1)
        for split in splits:
            path = f'data/nuscenes/own_infos_{split}.pkl'
            converters.update_infos_to_v2.update_pkl_infos('nuscenes', 'data/nuscenes', path)
    names = ('car', 'truck', 'pedestrian')
    for split in SPLITS:
        dataset = DATASETS.build(dict(
            type='NuScenesDataset', data_root='data/nuscenes', ann_file=f'own_infos_{split}.pkl',
            data_prefix=dict(pts='samples/LIDAR_TOP', sweeps='samples/LIDAR_TOP'),
            metainfo=dict(classes=names), test_mode=split == 'test', filter_empty_gt=False,
            pipeline=[
                dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=5, use_dim=5),
                *[dict(type='LoadAnnotations3D')] * (split != 'test'),
            ],
        ))  # fmt: skip
        truth = expected(root, split)
        assert len(dataset) == len(truth) == SIZES[split]
        for item, info in zip(dataset, truth, strict=True):
            points = item['points'].tensor.numpy()
            np.testing.assert_array_equal(points[:, :3], info['cloud'][:, :3])
            np.testing.assert_allclose(points[:, 3], 255 * info['cloud'][:, 3], rtol=1e-6)
            counts = [len(cloud) for cloud in info['clouds']]
            np.testing.assert_array_equal(points[:, 4], np.repeat(np.arange(2), counts))
            if split == 'test':
                continue
            # mmdet3d leaves objects without a point out; all have some here.
            assert_same_boxes(item['gt_bboxes_3d'], info)
            labels = [names.index(NUSCENES[info['classes'][i]]) for i in info['gt_labels_3d']]
            assert item['gt_labels_3d'].tolist() == labels


def test_tracks_of_nuscenes(root, nuscenes):
    """An instance is an object over time, and moves as its labels do."""
    found = NuScenes('v1.0-trainval', str(nuscenes / 'data/nuscenes'), verbose=False)
    (scene,) = [s for s in found.scene if s['description'].endswith('ego 1')][1:]
    truth = expected(root, 'val')
    token, world = scene['first_sample_token'], {}
    for info in truth:
        sample = found.get('sample', token)
        tracks = []
        for name in sample['anns']:
            row = found.get('sample_annotation', name)
            tracks.append(row['instance_token'])
            world.setdefault(row['instance_token'], []).append(row['translation'])
        assert len(tracks) == len({*tracks}) == len(info['gt_track_ids'])
        token = sample['next']
    assert token == '' and scene['nbr_samples'] == len(truth)
    assert len(world) == 9 and all(len(places) == 3 for places in world.values())
    for instance, places in world.items():
        middle = found.get('instance', instance)['first_annotation_token']
        middle = found.get('sample_annotation', middle)['next']
        speed = np.subtract(places[2], places[0]) / 1.0  # s
        np.testing.assert_allclose(found.box_velocity(middle), speed, atol=1e-6)
    assert any(np.hypot(*np.subtract(p[2], p[0])[:2]) > 1 for p in world.values())


def test_predictions_as_the_devkit_reads_them(root, nuscenes, tmp_path, monkeypatch):
    words = '--predictions', perfect(root, 'val', tmp_path / 'found.jsonl')
    assert export(monkeypatch, 'nuscenes', infos_of(root, 'val'), tmp_path / 'out', *words) == 0
    path = str(tmp_path / 'out/results_nusc.json')
    boxes, meta = load_prediction(path, 500, DetectionBox)
    assert meta['use_lidar'] and not meta['use_camera']
    found = NuScenes('v1.0-trainval', str(nuscenes / 'data/nuscenes'), verbose=False)
    truth = expected(root, 'val')
    assert len(boxes.sample_tokens) == len(truth)
    for token, info in zip(boxes.sample_tokens[:-1], truth[:-1], strict=True):
        labels = [found.get('sample_annotation', a) for a in found.get('sample', token)['anns']]
        for own, label in zip(boxes[token], labels, strict=True):
            np.testing.assert_allclose(own.translation, label['translation'], atol=1e-3)
            np.testing.assert_allclose(own.size, label['size'], atol=1e-3)
            assert abs(abs(np.dot(own.rotation, label['rotation'])) - 1) < 1e-6
            speed = info['world_from_ego'][:2, :3] @ [1.0, 0.5, 0.0]
            np.testing.assert_allclose(own.velocity, speed, atol=1e-6)
    assert not boxes[boxes.sample_tokens[-1]]
    evaluation = DetectionEval(
        found, config_factory('detection_cvpr_2019'), path, 'val', str(tmp_path), verbose=False
    )
    metrics, _ = evaluation.evaluate()
    # Two of the three samples are predicted: found is what recall up to two thirds is worth.
    assert 0.55 < metrics.mean_dist_aps['car'] < 0.7 and metrics.tp_errors['trans_err'] < 0.75


def test_more_scenes_than_names_are_refused(root, tmp_path, monkeypatch):
    monkeypatch.setattr('nuscenes.utils.splits.val', [])
    with pytest.raises(UserError, match='has more scenes than the 0 of val'):
        export(monkeypatch, 'nuscenes', infos_of(root, 'val'), tmp_path / 'out')


def test_a_set_without_tracks(tmp_path, monkeypatch):
    """DAIR-V2X-C: each box of each frame is an instance of its own."""
    frames = [Frame(200, 0), Frame(201, 100)], [Frame(10, 0), Frame(11, 100)]
    pairs = [Pair(200, 10), Pair(201, 11)]
    labels = {n: [box('dair_v2x_c', 130.0, 230.0)] for n in (200, 201)}
    data = write_set(tmp_path / 'set', 'dair_v2x_c', *frames, pairs, labels)
    infos = data / 'dair_v2x_c_infos_train.npz'
    save_infos(str(infos), build_infos(str(data), 'train', 'dair_v2x_c'))
    assert export(monkeypatch, 'nuscenes', [infos], tmp_path / 'out') == 0
    found = NuScenes('v1.0-trainval', str(tmp_path / 'out'), verbose=False)
    assert len(found.sample) == len(found.instance) == len(found.sample_annotation) == 2
    assert np.isnan(found.box_velocity(found.sample_annotation[0]['token'])).all()
    assert found.sample[1]['timestamp'] - found.sample[0]['timestamp'] == 100_000
