"""What exports of both formats have in common: all sets, interruptions, what is refused."""

import hashlib
import sys

import numpy as np
import pytest
import yaml

from tests.export.exports import KITTI, expected, export, infos_of, perfect
from tests.layouts import rewrite
from tests.scenes import write_scenario
from tools import export as tool
from turbotrain.commands import run_tool
from turbotrain.datasets import build_infos, save_infos
from turbotrain.datasets.readers import DIALECTS, DataFileError
from turbotrain.errors import UserError
from turbotrain.export import KITTI_NAMES, NUSCENES_NAMES, begin_export


@pytest.mark.parametrize('dataset', [*DIALECTS])
def test_every_set_gives_the_same_files(dataset, tmp_path, monkeypatch):
    """One scene as each of the seven has it: clouds and labels of its export agree."""
    source = tmp_path / 'v2xpnp_source'
    write_scenario(source, 'val', agents=(1, -1), frames=range(0, 10, 5), objects=6, seed=3)
    for path in source.glob('val/*/*/*.yaml'):
        content = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        twin = yaml.safe_load((path.parents[1] / '1' / path.name).read_text())
        for key, item in list(content['vehicles'].items()):
            item['obj_type'] = 'Car'
            # DAIR-V2X's readers take what is over the vehicle for the vehicle itself.
            if np.hypot(*np.subtract(item['location'], twin['lidar_pose'][:3])[:2]) < 2:
                del content['vehicles'][key]
        path.write_text(yaml.dump(content))
    found = {}
    for name in {'v2xpnp', dataset}:
        rewrite(source, tmp_path / name, name)
        folder = 'validate' if name == 'v2xreal' else 'val'
        infos = tmp_path / name / f'{name}_infos_val.npz'
        save_infos(str(infos), build_infos(str(infos.parent), folder, name))
        words = '--class-map', 'vehicle1', '--mode', 'vc'
        assert export(monkeypatch, 'kitti', [infos], tmp_path / f'{name}_kitti', *words) == 0
        training = tmp_path / f'{name}_kitti/training'
        found[name] = [
            (
                np.fromfile(cloud, '<f4').reshape(-1, 4)[:, :3],
                sorted(
                    [float(word) for word in line.split()[8:]]
                    for line in (training / f'label_2/{cloud.stem}.txt').open()
                ),
            )
            for cloud in sorted(training.glob('velodyne/*.bin'))
        ]
    assert len(found[dataset]) == 2
    for (cloud, labels), (own_cloud, own_labels) in zip(
        found['v2xpnp'], found[dataset], strict=True
    ):
        np.testing.assert_allclose(own_cloud, cloud, atol=1e-3)
        np.testing.assert_allclose(own_labels, labels, atol=1e-3)
        assert len(labels) > 2


def test_one_agent_alone(root, tmp_path, monkeypatch):
    """Its own cloud, the labels of all, in its own frame: here the roadside unit's."""
    words = '--alone', '--mode', 'ic'
    assert export(monkeypatch, 'kitti', infos_of(root, 'val'), tmp_path, *words) == 0
    (info, *_) = expected(root, 'val', mode='ic')
    assert info['agents'].ids.tolist() == [-1, 1]
    cloud = np.fromfile(tmp_path / 'training/velodyne/500000.bin', '<f4').reshape(-1, 4)
    np.testing.assert_array_equal(cloud, info['clouds'][0])
    labels = (tmp_path / 'training/label_2/500000.txt').read_text().splitlines()
    assert len(labels) == len(info['gt_bboxes_3d'])
    (line, *_) = (tmp_path / 'samples.txt').read_text().splitlines()
    assert line.split() == ['training/500000', '0', '-1', info['scenario']]


@pytest.mark.parametrize(
    ('kind', 'last'), [('kitti', 'ImageSets/val.txt'), ('nuscenes', 'v1.0-trainval/sample.json')]
)
def test_an_interrupted_export_goes_on(root, kind, last, tmp_path, monkeypatch):
    """What is there is not written again; the lists come last."""
    whole, cut, infos = tmp_path / 'whole', tmp_path / 'cut', infos_of(root, 'val')
    assert export(monkeypatch, kind, infos, whole) == 0
    with monkeypatch.context() as patch:
        patch.setattr(tool.Moments, 'cloud', interrupted(tool.Moments.cloud, after=2))
        with pytest.raises(KeyboardInterrupt):
            export(patch, kind, infos, cut)
    assert not (cut / last).exists() and not [*cut.rglob('*.partial')]
    left = {path: path.stat().st_mtime_ns for path in cut.rglob('*.bin')}
    assert len(left) == 2
    assert export(monkeypatch, kind, infos, cut) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in left.items())
    files = [path for path in whole.rglob('*') if path.is_file()]
    assert len(files) > 10 and (whole / last) in files
    for path in files:
        assert (cut / path.relative_to(whole)).read_bytes() == path.read_bytes(), path


def interrupted(cloud, after: int):
    seen = []

    def once(self, index: int) -> np.ndarray:
        seen.append(index)
        if len(seen) > after:
            raise KeyboardInterrupt
        return cloud(self, index)

    return once


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--names', 'vehicle=Lorry'], '--names: expected CLASS=NAME with a NAME of'),
        (['--names', 'trukc=Van'], '--names: expected CLASS=NAME with a CLASS of'),
        (['--alone'], "key 'alone': expected True, as this export has it, got False"),
        (['--names', 'truck=Van'], "key 'classes'"),
        (['--predictions', 'none.jsonl'], 'none.jsonl'),
        (['--class-map', 'vehicle1', '--ego', 'every'], "key 'ego': expected 'every'"),
    ],
)
def test_what_does_not_fit_is_said(root, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    settings = dict(format='kitti', mode='vc', ego='first', alone=False, class_map=None)
    infos = infos_of(root, 'val')
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in infos}
    begin_export(tmp_path / 'out', settings | dict(files=files, classes=KITTI))
    argv = ['export', 'kitti', '--infos', str(infos[0]), '--out', str(tmp_path / 'out'), *words]
    monkeypatch.setattr(sys, 'argv', argv)
    with pytest.raises(SystemExit) as ended:
        run_tool(tool.main)
    text = str(ended.value.code)
    assert text.startswith('error: ') and said in text and '\n' not in text


def test_folders_and_files_of_others_are_left_alone(root, tmp_path, monkeypatch):
    (tmp_path / 'thesis.tex').write_text('mine')
    with pytest.raises(UserError, match='is not empty and holds no export'):
        export(monkeypatch, 'kitti', infos_of(root, 'val'), tmp_path)
    infos = infos_of(root, 'val')
    with pytest.raises(UserError, match='one file of each split, got val, val'):
        export(monkeypatch, 'kitti', infos * 2, tmp_path / 'out')
    (tmp_path / 'val.npz').write_bytes(infos[0].read_bytes())
    with pytest.raises(UserError, match='expected the name of an info file'):
        export(monkeypatch, 'kitti', [tmp_path / 'val.npz'], tmp_path / 'out')
    path = perfect(root, 'train', tmp_path / 'found.jsonl')
    with pytest.raises(DataFileError, match='that can be the ego'):
        path.write_text(path.read_text().replace('"frame": 0', '"frame": 99'))
        words = '--predictions', path
        export(monkeypatch, 'nuscenes', infos_of(root, 'train'), tmp_path / 'other', *words)
    assert not (tmp_path / 'other').exists(), 'it can be typed again once the file is mended'
    with pytest.raises(UserError, match='expected the one info file'):
        export(monkeypatch, 'kitti', infos_of(root), tmp_path / 'third', *words)


def test_classes_without_a_name_are_refused(root, tmp_path, monkeypatch):
    monkeypatch.delitem(KITTI_NAMES, 'truck')
    with pytest.raises(UserError, match="class 'truck' has no name .* --names truck=NAME"):
        export(monkeypatch, 'kitti', infos_of(root, 'val'), tmp_path / 'a')
    words = '--names', 'truck=Van'
    assert export(monkeypatch, 'kitti', infos_of(root, 'val'), tmp_path / 'a', *words) == 0
    kinds = {line.split()[0] for path in tmp_path.rglob('label_2/*.txt') for line in path.open()}
    assert 'Van' in kinds and 'Truck' not in kinds
    assert {*NUSCENES_NAMES} >= {'vehicle', 'truck', 'pedestrian'}
