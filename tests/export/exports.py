"""What tests of exports share: the expected samples, and the command."""

import json
from pathlib import Path

import numpy as np

from tests.commands import run_main
from tools import export as tool
from turbotrain.datasets import V2XPnPDataset
from turbotrain.datasets.transforms import LoadCooperativePoints, ProjectPointsToEgo

SPLITS = ('train', 'val', 'test')
SIZES = dict(train=2, val=3, test=2)  # moments
KITTI = dict(vehicle='Car', truck='Truck', pedestrian='Pedestrian')
NUSCENES = dict(vehicle='car', truck='truck', pedestrian='pedestrian')


def infos_of(root: Path, *splits: str) -> list[Path]:
    return [root / f'v2xpnp_infos_{split}.npz' for split in splits or SPLITS]


def expected(root: Path, split: str, **settings) -> list[dict]:
    """Boxes and the merged cloud of each sample, by the data set and its transforms."""
    own = dict(num_history=0, num_future=0, pipeline=[], serialize_data=False, **settings)
    found = []
    for info in V2XPnPDataset(f'v2xpnp_infos_{split}.npz', str(root), **own):
        info = LoadCooperativePoints(zero_intensity=False).transform(info)
        clouds = ProjectPointsToEgo().transform(info)['points']
        found.append(info | dict(cloud=np.concatenate(clouds), clouds=clouds))
    return found


def export(monkeypatch, kind: str, infos: list[Path], out: Path, *words: object) -> object:
    return run_main(tool, monkeypatch, kind, '--infos', *infos, '--out', out, *words)


def assert_same_boxes(found: object, info: dict, kept: np.ndarray | None = None) -> None:
    """Boxes of mmdet3d are the sample's, to a millimetre, in the same order."""
    boxes = info['gt_bboxes_3d'] if kept is None else info['gt_bboxes_3d'][kept]
    found = found.tensor.numpy()[:, :7].astype(np.float64)
    np.testing.assert_allclose(found[:, :6], boxes[:, :6], rtol=0, atol=1e-3)
    apart = (found[:, 6] - boxes[:, 6] + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(apart * boxes[:, 3], 0, atol=1e-3)


def perfect(root: Path, split: str, path: Path) -> Path:
    """A file of predictions that says what the labels say, but for the last sample."""
    lines = [dict(format='turbotrain-predictions', version=1, class_names=list(KITTI))]
    for info in expected(root, split)[:-1]:
        lines.append(dict(
            scenario=info['scenario'], frame=info['frame'], ego=1,
            boxes=info['gt_bboxes_3d'].tolist(),
            scores=np.linspace(0.9, 0.5, len(info['gt_bboxes_3d'])).tolist(),
            labels=[info['classes'][i] for i in info['gt_labels_3d']],
            velocity=[[1.0, 0.5]] * len(info['gt_bboxes_3d']),
        ))  # fmt: skip
    path.write_text('\n'.join(map(json.dumps, lines)))
    return path
