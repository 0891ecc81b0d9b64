"""Shares of the labels: whole scenarios, as moments of one are much alike.

A tenth of the moments of all scenarios tells almost all that all moments do (MV-JAR, CVPR 2023).
"""

import copy

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.config import Config

from turbotrain.datasets import V2XPnPDataset

__all__ = ['SHARES', 'label_share', 'labelled']

SHARES = ('one', '5', '10', '20', '50', '100')
"""One scenario, and percent of all of them."""
VALIDATED = 4
"""While a run trains, every so manyth sample of the validation split shows how it goes."""


def labelled(dataset: V2XPnPDataset, share: str, seed: int) -> list[int]:
    """The samples of whole scenarios, all egos of them; a smaller share is part of a larger one.

    Args:
        dataset: of the training split.
        share: one of :data:`SHARES`.
        seed: which scenarios.
    """
    scenarios: dict[str, list[int]] = {}
    for i in range(len(dataset)):
        scenarios.setdefault(dataset.get_data_info(i)['scenario'], []).append(i)
    names = sorted(scenarios)
    count = 1 if share == 'one' else max(1, round(len(names) * int(share) / 100))
    order = np.random.default_rng(seed).permutation(len(names))
    return sorted(i for n in order[:count] for i in scenarios[names[n]])


def label_share(cfg: Config, share: str, seed: int) -> None:
    """Have a training see the labels of a share alone; needs mmdet3d's default scope.

    Args:
        cfg: of the training, changed in place. Its validations on the way look at every
            :data:`VALIDATED` th sample.
        share: one of :data:`SHARES`.
        seed: which scenarios.
    """
    dataset = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': []})
    cfg.train_dataloader.dataset.indices = labelled(dataset, share, seed)
    if cfg.get('val_dataloader'):
        # Of its own: with --split val it is what the run is measured on, too.
        loader = copy.deepcopy(cfg.val_dataloader)
        dataset = DATASETS.build({**loader.dataset, 'pipeline': []})
        loader.dataset.indices = list(range(0, len(dataset), VALIDATED))
        cfg.val_dataloader = loader
