"""Checked access to what a sample holds: every error names the sample, the key and the need."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmdet3d.structures import LiDARInstance3DBoxes

__all__ = ['InstanceFields']


class InstanceFields:
    """The instances of one sample as NumPy arrays.

    Args:
        sample_name: how errors call the sample.
        key: which instances, e.g. ``'gt_instances_3d'``.
        sample: a sample as ``Det3DDataSample.to_dict()`` gives it.
    """

    def __init__(self, sample_name: str, key: str, sample: Mapping) -> None:
        self.where = f'sample {sample_name}: {key}'
        if key not in sample:
            raise KeyError(f'{self.where} is missing; the sample has {sorted(sample)}')
        self.fields = sample[key]

    def __contains__(self, key: str) -> bool:
        """Whether there is a field of that name."""
        return key in self.fields

    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, 5) float32 boxes from above, and (N, 2) z of their bottoms and tops."""
        boxes = self._field('bboxes_3d')
        if not isinstance(boxes, LiDARInstance3DBoxes):
            # Those of cameras and depth maps have other axes, and would only be found nowhere.
            raise ValueError(
                f'{self.where}.bboxes_3d is of type {type(boxes).__name__}, expected '
                'LiDARInstance3DBoxes in the ego frame'
            )
        heights = torch.stack([boxes.bottom_height, boxes.top_height], dim=1)
        return (
            self._checked('bboxes_3d', boxes.bev, (len(heights), 5), np.float32),
            self._checked('bboxes_3d', heights, (len(heights), 2), np.float32),
        )

    def labels(self, num_boxes: int, num_classes: int) -> np.ndarray:
        """(N,) int64 classes, each below ``num_classes``."""
        labels = self.array('labels_3d', (num_boxes,), np.int64)
        wrong = labels[(labels < 0) | (labels >= num_classes)]
        if len(wrong):
            raise ValueError(
                f'{self.where}.labels_3d holds label {wrong[0]}; class_names has {num_classes} '
                f'names, so labels go from 0 to {num_classes - 1}'
            )
        return labels

    def array(
        self,
        key: str,
        shape: tuple[int | None, ...],
        dtype: type,
        used: np.ndarray | None = None,
    ) -> np.ndarray:
        """A field as an array.

        Args:
            key: name of the field.
            shape: what it has to be; None fits any length.
            dtype: type of the result. Numbers are no bool, and fractions no integers.
            used: bool, over the leading axes: only these entries have to be finite.

        Returns:
            The array, in the memory of the CPU.
        """
        return self._checked(key, self._field(key), shape, dtype, used)

    def _field(self, key: str) -> Any:
        """A field as it is."""
        if key not in self.fields:
            raise KeyError(f"{self.where} lacks '{key}'; it has {sorted(self.fields)}")
        return self.fields[key]

    def _checked(
        self,
        key: str,
        value: Any,
        shape: tuple[int | None, ...],
        dtype: type,
        used: np.ndarray | None = None,
    ) -> np.ndarray:
        """A value as an array, see :meth:`array`."""
        array = torch.as_tensor(value).detach().cpu().numpy()
        fits = len(array.shape) == len(shape) and all(
            want in (None, got) for want, got in zip(shape, array.shape, strict=True)
        )
        if not fits:
            expected = tuple('any' if want is None else want for want in shape)
            raise ValueError(f'{self.where}.{key} has shape {array.shape}, expected {expected}')
        if array.size and not np.can_cast(array.dtype, dtype, 'same_kind'):
            raise ValueError(
                f'{self.where}.{key} is of type {array.dtype}, expected {np.dtype(dtype)}'
            )
        if not np.isfinite(array if used is None else array[used]).all():
            raise ValueError(f'{self.where}.{key} holds NaN or infinite values')
        return array.astype(dtype)
