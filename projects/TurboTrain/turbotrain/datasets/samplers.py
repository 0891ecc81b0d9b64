"""Sampling that tells the dataset which epoch it is."""

from collections.abc import Iterator
from typing import Any

from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS

from ..errors import SettingError
from .v2xpnp_dataset import V2XPnPDataset
from .wrappers import EpochIndexDataset

__all__ = ['EpochIndexSampler']


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
