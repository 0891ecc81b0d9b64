"""The ground truth of saved predictions, by scenario, frame and ego."""

from collections.abc import Mapping

import numpy as np
import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.dataset import BaseDataset

from ..structures import last_velocity
from .readers import DataFileError, shown
from .v2xpnp_dataset import V2XPnPDataset

__all__ = ['TruthIndex']


class TruthIndex:
    """Finds the sample of a dataset that a prediction is of.

    Args:
        dataset: one whose egos are ``first`` or ``every``, so that a sample has one ego. For
            :meth:`of`, its pipeline must not pack: a range filter alone will do.
    """

    def __init__(self, dataset: V2XPnPDataset) -> None:
        self.dataset = dataset
        infos = dataset.infos
        rows = [BaseDataset.get_data_info(dataset, i)['rows'][0] for i in range(len(dataset))]
        names = zip(
            infos.scenarios[infos.scenario[rows]].tolist(),
            infos.frame[rows].tolist(),
            infos.agent[rows].tolist(),
            strict=True,
        )
        self.index = {name: i for i, name in enumerate(names)}

    def find(self, prediction: Mapping) -> int:
        """The number of a prediction's sample in the dataset.

        Args:
            prediction: with ``scenario``, ``frame`` and ``ego``, as ``read_predictions`` yields it.

        Raises:
            DataFileError: the dataset has no such sample.
        """
        name = prediction['scenario'], prediction['frame'], prediction['ego']
        if name not in self.index:
            raise DataFileError(
                self.dataset.ann_file,
                f'has no agent {shown(name[2])} that can be the ego in mode '
                f'{self.dataset.mode!r} in scenario {name[0]:.255}, frame {shown(name[1])}',
            )
        return self.index[name]

    def of(self, prediction: Mapping) -> dict:
        """The instances that a prediction is compared with, as ``CooperativeMetric`` takes them."""
        found = self.dataset[self.find(prediction)]
        velocity, known = last_velocity(
            found['gt_history_trajectories'],
            found['gt_history_valid'],
            found['agents'].time_offsets,
        )
        return dict(
            bboxes_3d=LiDARInstance3DBoxes(torch.from_numpy(np.float32(found['gt_bboxes_3d']))),
            labels_3d=found['gt_labels_3d'],
            future_trajectories=found['gt_future_trajectories'],
            future_valid=found['gt_future_valid'],
            velocity=velocity,
            velocity_valid=known,
        )
