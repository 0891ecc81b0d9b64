"""Sampling that tells the dataset which epoch it is."""

import math
from collections.abc import Iterator
from typing import Any

from mmengine.dataset import DefaultSampler
from mmengine.dist import get_world_size
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import DataLoader

from ..errors import SettingError
from .v2xpnp_dataset import V2XPnPDataset
from .wrappers import EpochIndexDataset, innermost

__all__ = ['EpochIndexSampler', 'repeated_draws']


@DATA_SAMPLERS.register_module()
class EpochIndexSampler(DefaultSampler):
    """mmengine's default sampler, whose indices carry the epoch: ``epoch * len(dataset) + index``.

    Worker processes do not hear of a new epoch. From such an index :class:`V2XPnPDataset` seeds a
    sample's random transforms by (seed, epoch, sample), so that they do not depend on the order of
    the samples, on the number of workers, or on whether the run was resumed.
    """

    def __init__(self, dataset: V2XPnPDataset | EpochIndexDataset, **kwargs: Any) -> None:
        if not isinstance(dataset, (V2XPnPDataset, EpochIndexDataset)):
            name = type(dataset).__name__
            if name == '_SlicedDataset':  # mmengine's own, which no config can name
                raise SettingError(
                    'EpochIndexSampler cannot count epochs of the part that num_batch_per_epoch '
                    f'takes; leave that out and give the V2XPnPDataset indices={len(dataset)}, '
                    'which takes the same samples'
                )
            raise SettingError(
                'EpochIndexSampler needs a V2XPnPDataset, which understands its indices; got '
                f'{name}. Put a wrapper of V2XPnPDatasets into '
                f"dict(type='EpochIndexDataset', dataset=dict(type='{name}', ...))"
            )
        super().__init__(dataset, **kwargs)

    def __iter__(self) -> Iterator[int]:
        """Indices of this epoch for this process."""
        offset = self.epoch * len(self.dataset)
        return (offset + index for index in super().__iter__())


def repeated_draws(loader: DataLoader, iterations: int) -> str | None:
    """A warning where training meets the random draws of a :class:`V2XPnPDataset` again.

    Data workers cannot tell: by default each epoch has new ones.

    Args:
        loader: as it is built; its data set may be in wrappers.
        iterations: of the whole training.

    Returns:
        None where draws do not repeat.
    """
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    whole = getattr(loader.dataset, '_dataset', loader.dataset)  # of num_batch_per_epoch's part
    own = [each for each in innermost(whole) if isinstance(each, V2XPnPDataset)]
    if isinstance(sampler, EpochIndexSampler) or not own or all(each.test_mode for each in own):
        return None
    different = min(len(loader.dataset), sum(map(len, innermost(whole))))
    batch_size = getattr(loader.batch_sampler, 'batch_size', 1)
    if iterations <= math.ceil(different / (batch_size * get_world_size())):
        return None
    return (
        f'training asks for samples again and {type(sampler).__name__} does not tell the epoch: '
        "their random draws repeat. Train with sampler=dict(type='EpochIndexSampler'), which does; "
        "in RepeatDataset and the like, put the outermost into dict(type='EpochIndexDataset', "
        'dataset=...), which passes it on'
    )
