"""Several data sets in one, or one repeated, with the wrappers of mmengine and torch."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmdet3d.registry import DATASETS
from torch.utils.data import Dataset

from ..errors import SettingError
from .v2xpnp_dataset import V2XPnPDataset, split_index

__all__ = ['EpochIndexDataset', 'check_metainfo', 'innermost']


@DATASETS.register_module()
class EpochIndexDataset:
    """Passes the epoch on to every :class:`V2XPnPDataset` in wrappers of any kind and depth.

    It stands outermost, with ``EpochIndexSampler``. Wrappers turn an index into one of the data set
    in them and so lose the epoch, and which copy of a sample it is. This one keeps both from them:
    it tells the innermost data sets, and gives the wrappers a plain index.

    Args:
        dataset: ``ConcatDataset``, ``RepeatDataset``, ``ClassBalancedDataset``, ``Subset``, or any
            other that holds data sets as ``dataset`` or ``datasets``, or the config of one.

    Raises:
        SettingError: it holds anything else than ``V2XPnPDataset``, whose draws would not follow,
            or the data sets differ in their metainfo, in their classes say.

    Example:
        >>> both = dict(type='ConcatDataset', datasets=[dict(type='V2XPnPDataset', ...), ...])
        >>> train_dataloader = dict(
        ...     sampler=dict(type='EpochIndexSampler'),
        ...     dataset=dict(type='EpochIndexDataset', dataset=both))
    """

    def __init__(self, dataset: Mapping | Dataset) -> None:
        check_metainfo(dataset)
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset
        self._own = innermost(self.dataset)
        for own in self._own:
            if not isinstance(own, V2XPnPDataset):
                raise SettingError(
                    'EpochIndexDataset can tell the epoch to V2XPnPDatasets alone; '
                    f'{type(self.dataset).__name__} holds a {type(own).__name__}'
                )

    @property
    def metainfo(self) -> dict:
        """That of all the data sets."""
        return self._own[0].metainfo

    def __len__(self) -> int:
        """Number of samples of an epoch, copies included."""
        return len(self.dataset)

    def __iter__(self) -> Iterator[Any]:
        """The samples of one epoch: an index beyond them would be of the next one."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, idx: int) -> Any:
        """A sample by ``epoch * len(self) + index``."""
        place = split_index(idx, len(self))
        told = [own for own in self._own if own.place is None]  # others know from a wrapper outside
        for own in told:
            own.place = place
        try:
            return self.dataset[place[1]]
        finally:
            for own in told:
                own.place = None


def innermost(dataset: Any) -> list:
    """What wrappers hold, at any depth: data sets of a data set, or configs of a config."""
    if isinstance(dataset, Mapping):
        inside = [*dataset.get('datasets', ()), dataset.get('dataset')]
    else:
        inside = [*getattr(dataset, 'datasets', ()), getattr(dataset, 'dataset', None)]
    inside = [own for own in inside if own is not None]
    return [own for each in inside for own in innermost(each)] or [dataset]


def check_metainfo(dataset: Any) -> None:
    """See that all :class:`V2XPnPDataset` in wrappers, or in their config, have the same metainfo.

    mmengine's wrappers say neither which data sets differ nor in what.

    Raises:
        SettingError: two differ; it names both.
    """
    first, *others = [
        DATASETS.build({**own, 'pipeline': [], 'lazy_init': True}) if _is_config(own) else own
        for own in innermost(dataset)
        if _is_config(own) or isinstance(own, V2XPnPDataset)
    ] or [None]
    for other in others:
        for key, one in first.metainfo.items():
            two = other.metainfo[key]
            if one != two:
                raise SettingError(
                    f'{first.ann_file} has {key} {one} and {other.ann_file} has {key} {two}: data '
                    'sets in one need the same (class_map says which classes they have)'
                )


def _is_config(dataset: Any) -> bool:
    return isinstance(dataset, Mapping) and dataset.get('type') == 'V2XPnPDataset'
