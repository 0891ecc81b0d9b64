"""Sampling that tells the dataset which epoch it is."""

from collections.abc import Iterator

from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS

__all__ = ['EpochSampler']


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """mmengine's default sampler, whose indices carry the epoch: ``epoch * len(dataset) + index``.

    Worker processes do not hear of a new epoch. From such an index :class:`V2XPnPDataset` seeds a
    sample's random transforms by (seed, epoch, sample), so that they do not depend on the order of
    the samples, on the number of workers, or on whether the run was resumed.
    """

    def __iter__(self) -> Iterator[int]:
        """Indices of this epoch for this process."""
        offset = self.epoch * len(self.dataset)
        return (offset + index for index in super().__iter__())
