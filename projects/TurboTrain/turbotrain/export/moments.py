"""Samples as other projects know them: one cloud at a time, and the boxes in its frame."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets import TruthIndex, V2XPnPDataset
from ..datasets.transforms import EgoOnly, LoadCooperativePoints, ProjectPointsToEgo
from ..errors import UserError
from ..evaluation import read_predictions

__all__ = ['Moment', 'Moments', 'predicted_moments', 'split_of']

_SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class Moment:
    """What an ego knows at one time. All but the pose is in the frame of its LiDAR.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        scenario: name of the scenario.
        ego: id of the ego.
        frame: number of the frame.
        seconds: since frame 0.
        world_from_ego: (4, 4) float64.
        boxes: (M, 7) float64 x, y, z of the bottom's centre, length, width, height (m), yaw (rad).
        names: (M,) classes, by the names of the other project.
        scores: (M,) of predictions, None of labels.
        velocity: (M, 2) m/s of predictions that have one.
        tracks: (M,) ids of labelled objects, the same in all frames of a set with tracks.
    """

    split: str
    scenario: str
    ego: int
    frame: int
    seconds: float
    world_from_ego: np.ndarray
    boxes: np.ndarray
    names: list[str]
    scores: np.ndarray | None = None
    velocity: np.ndarray | None = None
    tracks: np.ndarray | None = None

    @property
    def token(self) -> str:
        """32 hexadecimal digits that no other ego or time of the set has."""
        return token_of(self.split, self.scenario, self.ego, self.frame)


class Moments:
    """The samples of one split, by scenario, ego and time.

    Args:
        split: ``train``, ``val`` or ``test``.
        dataset: one whose egos are ``first`` or ``every``, without history, future or pipeline.
        load: how clouds are loaded.
        names: class of the dataset -> class of the other project.
        alone: clouds are the ego's alone. Labels are those of all agents either way, as in the
            benchmarks.

    Raises:
        UserError: a class of the dataset has no name in the other project.
    """

    def __init__(
        self,
        split: str,
        dataset: V2XPnPDataset,
        load: LoadCooperativePoints,
        names: Mapping[str, str],
        alone: bool = False,
    ) -> None:
        self.split, self.dataset = split, dataset
        self._load, self._alone = load, alone
        self.classes = dataset.metainfo['classes']
        unknown = [name for name in self.classes if name not in names]
        if unknown:
            raise UserError(
                f'class {unknown[0]!r} has no name in the other format; give it one by --names '
                f'{unknown[0]}=NAME'
            )
        self.names = [names[name] for name in self.classes]

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Moment]:
        return map(self.labelled, range(len(self)))

    def labelled(self, index: int) -> Moment:
        """One sample with its labels; no cloud is read."""
        info = self.dataset.get_data_info(index)
        return self._moment(
            info, info['gt_bboxes_3d'], info['gt_labels_3d'], tracks=info['gt_track_ids']
        )

    def predicted(self, index: int, found: Mapping[str, Any] | None) -> Moment:
        """One sample with its predictions as ``read_predictions`` yields them; None is for none."""
        info = self.dataset.get_data_info(index)
        if found is None:
            return self._moment(info, np.zeros((0, 7)), np.zeros(0, np.int64), scores=np.zeros(0))
        own = found['pred_instances_3d']
        more = dict(velocity=own['velocity'].double().numpy()) if 'velocity' in own else {}
        boxes = own['bboxes_3d'].tensor[:, :7].double().numpy()
        scores = own['scores_3d'].double().numpy()
        return self._moment(info, boxes, own['labels_3d'].numpy(), scores=scores, **more)

    def _moment(
        self, info: Mapping[str, Any], boxes: np.ndarray, labels: np.ndarray, **more: np.ndarray
    ) -> Moment:
        return Moment(
            split=self.split,
            scenario=info['scenario'],
            ego=int(info['agents'].ids[0]),
            frame=info['frame'],
            seconds=info['frame'] / self.dataset.infos.dialect.frame_rate,
            world_from_ego=info['world_from_ego'],
            boxes=boxes,
            names=[self.names[label] for label in labels.tolist()],
            **more,
        )

    def cloud(self, index: int) -> np.ndarray:
        """A sample's points in the ego's frame, without the agents' bodies.

        Returns:
            (P, 5) float32 x, y, z (m), intensity, and who saw it: 0 is the ego, 1 the next agent.

        Raises:
            DataFileError: a cloud cannot be read, and they are not to be dropped.
        """
        info = self.dataset.get_data_info(index)
        if self._alone:
            info = EgoOnly().transform(info)
        info = ProjectPointsToEgo().transform(self._load.transform(info))
        agents = np.repeat(np.arange(len(info['points'])), [len(c) for c in info['points']])
        return np.column_stack([np.concatenate(info['points']), agents.astype(np.float32)])


def token_of(*words: object) -> str:
    """32 hexadecimal digits of a list of words, as nuScenes names what it has."""
    return hashlib.sha256('\0'.join(map(str, words)).encode()).hexdigest()[:32]


def split_of(infos: Path) -> str:
    """The split of an info file by its name; whatever is not trained or validated on is a test.

    Raises:
        UserError: it is not called as ``create_data.py`` calls them.
    """
    name = infos.stem.partition('_infos_')[2]
    if not name:
        raise UserError(
            f'{infos}: expected the name of an info file, such as v2xpnp_infos_val.npz, which says '
            'of which split it is'
        )
    return name if name in _SPLITS else 'test'


def predicted_moments(path: Path, moments: Moments) -> Iterator[Moment]:
    """The samples of a split with the predictions of a file; none where the file has no line.

    Raises:
        PredictionFileError: the file cannot be used.
        DataFileError: a line is of no sample of the split.
    """
    truth = TruthIndex(moments.dataset)
    found = {truth.find(line): line for line in read_predictions(path, moments.classes)}
    return (moments.predicted(index, found.get(index)) for index in range(len(moments)))
