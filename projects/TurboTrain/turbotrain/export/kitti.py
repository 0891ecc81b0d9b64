"""Samples and predictions as KITTI's object benchmark has them on disk.

KITTI labels what one camera sees. No recorded set has its camera, so that there is a virtual one
(our choice): it stands in the LiDAR, looks along x, and has 81 degrees and a black picture. Labels
are all round the ego; what lies outside the picture has a 2D box of no size.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from ..structures import BOX_EDGES, ahead_part, corners_of, project, wrapped
from ..whole_file import write_whole
from .moments import Moment, Moments

__all__ = ['KITTI_NAMES', 'write_kitti', 'write_kitti_predictions']

_WIDTH, _HEIGHT, _FOCAL = 1242, 375, 721.5  # pixels, about KITTI's own
_CAMERA_FROM_LIDAR = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
_INTRINSICS = np.array([[_FOCAL, 0, _WIDTH / 2], [0, _FOCAL, _HEIGHT / 2], [0, 0, 1]])
_FIRST = dict(train=0, val=500_000, test=0)  # training and validation lie in one folder
_MOST = 500_000

# Classes of the project's class maps by KITTI's names, and those that are called like KITTI's own.
KITTI_NAMES = dict(vehicle='Car', truck='Truck', pedestrian='Pedestrian') | {
    name.lower(): name
    for name in ('Car', 'Van', 'Cyclist', 'Person_sitting', 'Tram', 'Misc')
}  # fmt: skip


def write_kitti(
    out: Path, splits: list[Moments], progress: Callable[..., Iterable[int]] = iter
) -> None:
    """Write clouds, labels, calibration and black pictures, and the lists of samples at last.

    Args:
        out: folder; clouds that lie in it already are left as they are.
        splits: each once. ``train`` and ``val`` go to ``training/``, ``test`` to ``testing/``.
        progress: wraps the iterator over samples of a split, e.g. ``tqdm``.

    Raises:
        OSError: a file cannot be written.
        UserError: a split has more samples than numbers.
    """
    picture = cv2.imencode('.png', np.zeros((_HEIGHT, _WIDTH), np.uint8))[1].tobytes()
    lists: dict[str, list[str]] = {name: [] for name in _FIRST}
    lines = []
    for moments in splits:
        folder = out / ('testing' if moments.split == 'test' else 'training')
        for kind in ('velodyne', 'label_2', 'calib', 'image_2'):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        names = _names_of(moments)
        for index in progress(range(len(moments))):
            moment, name = moments.labelled(index), names[index]
            write_whole(folder / f'label_2/{name}.txt', _label(moment))
            _write_once(folder / f'calib/{name}.txt', _calibration)
            _write_once(folder / f'image_2/{name}.png', lambda: picture)
            _write_once(folder / f'velodyne/{name}.bin', partial(_cloud, moments, index))
            lines.append(f'{folder.name}/{name} {moment.frame} {moment.ego} {moment.scenario}')
        lists[moments.split] = names
    (out / 'ImageSets').mkdir(exist_ok=True)
    write_whole(out / 'samples.txt', _text(lines))
    lists['trainval'] = lists['train'] + lists['val']
    for split, names in lists.items():
        write_whole(out / f'ImageSets/{split}.txt', _text(names))


def write_kitti_predictions(out: Path, moments: Moments, predicted: Iterable[Moment]) -> None:
    """Write KITTI's result files, one for each sample of a split, by the numbers of its labels.

    Args:
        out: folder.
        moments: the split.
        predicted: its samples with predictions, in order.
    """
    for name, moment in zip(_names_of(moments), predicted, strict=True):
        write_whole(out / f'{name}.txt', _label(moment))


def _write_once(path: Path, content: Callable[[], bytes | str]) -> None:
    if not path.exists():
        write_whole(path, content())


def _cloud(moments: Moments, index: int) -> bytes:
    return moments.cloud(index)[:, :4].tobytes()


def _names_of(moments: Moments) -> list[str]:
    """Six digits for each sample of a split, whatever else is exported."""
    if len(moments) > _MOST:
        raise UserError(
            f'{moments.dataset.ann_file}: has {len(moments)} samples, and KITTI numbers for {_MOST}'
        )
    return [f'{_FIRST[moments.split] + index:06d}' for index in range(len(moments))]


def _text(lines: list[str]) -> str:
    return ''.join(f'{line}\n' for line in lines)


def _calibration() -> str:
    """P2 and the others, the rectification, and where the LiDAR is: all but P are turns by 90."""
    to_picture = _row(np.column_stack([_INTRINSICS, np.zeros(3)]).ravel())
    to_camera = _row(np.column_stack([_CAMERA_FROM_LIDAR, np.zeros(3)]).ravel())
    identity = np.eye(3, 4)
    return _text([
        *(f'P{i}: {to_picture}' for i in range(4)),
        f'R0_rect: {_row(np.eye(3).ravel())}',
        f'Tr_velo_to_cam: {to_camera}',
        f'Tr_imu_to_velo: {_row(identity.ravel())}',
    ])  # fmt: skip


def _label(moment: Moment) -> str:
    """Lines of a label file, or of a result file if there are scores.

    KITTI's box: height, width, length, the bottom's centre in the camera's frame, and the angle
    about its y from its x. Nobody recorded what hides an object: ``occluded`` is 0.
    """
    boxes = moment.boxes
    place = boxes[:, :3] @ _CAMERA_FROM_LIDAR.T
    turn = wrapped(-boxes[:, 6] - np.pi / 2)
    seen, outside = _picture_boxes(boxes)
    alpha = wrapped(turn - np.arctan2(place[:, 0], place[:, 2]))
    table = np.column_stack([alpha, seen, boxes[:, [5, 4, 3]], place, turn])
    if moment.scores is not None:
        table = np.column_stack([table, moment.scores])
    return _text([
        f'{name} {share:.2f} 0 {_row(row)}'
        for name, share, row in zip(moment.names, outside, table, strict=True)
    ])  # fmt: skip


def _row(values: Iterable[float]) -> str:
    return ' '.join(f'{value:.6f}' for value in values)


def _picture_boxes(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where boxes are in the picture.

    Args:
        boxes: (M, 7) in the LiDAR's frame.

    Returns:
        (M, 4) left, top, right, bottom in pixels, 0 for what is not in the picture, and (M,) which
        share of the 2D box lies outside of it.
    """
    edges = (corners_of(boxes) @ _CAMERA_FROM_LIDAR.T)[:, BOX_EDGES].reshape(-1, 2, 3)
    ends, kept = ahead_part(edges)
    pixels, box = project(_INTRINSICS, ends), kept // len(BOX_EDGES)
    low = np.full((len(boxes), 2), np.inf)
    high = -low
    np.minimum.at(low, box, pixels.min(axis=1))
    np.maximum.at(high, box, pixels.max(axis=1))
    whole = np.concatenate([low, high], 1)
    inside = whole.clip(0, [_WIDTH, _HEIGHT, _WIDTH, _HEIGHT])
    sizes, kept = whole[:, 2:] - whole[:, :2], inside[:, 2:] - inside[:, :2]
    seen = (kept > 0).all(axis=1)
    share = np.where(seen, kept.prod(axis=1) / np.where(seen, sizes.prod(axis=1), 1.0), 0.0)
    return np.where(seen[:, None], inside, 0.0), 1.0 - share
