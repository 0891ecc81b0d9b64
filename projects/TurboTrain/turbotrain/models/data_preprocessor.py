"""From a collated batch to the clouds that cooperative models take."""

from typing import Any

from mmdet3d.models import Det3DDataPreprocessor
from mmdet3d.registry import MODELS

from ..errors import SettingError

__all__ = ['CooperativeDataPreprocessor']


@MODELS.register_module()
class CooperativeDataPreprocessor(Det3DDataPreprocessor):
    """Cut each sample's points into the clouds of its agents and frames.

    A sample travels from worker to model as one tensor (see ``PackCooperativeInputs``); models get
    ``inputs['points']``, for each sample N*T tensors (P, 4), agent-major, and
    ``inputs['future_points']`` (P, 4), if the pipeline has loaded them.

    Args:
        args: of mmdet3d's preprocessor.
        kwargs: of mmdet3d's preprocessor.

    Raises:
        SettingError: ``voxel`` is asked for; cooperative models encode points.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.voxel:
            raise SettingError(
                'CooperativeDataPreprocessor: voxel=True would go unused; leave it out'
            )

    def simple_process(self, data: dict, training: bool = False) -> dict:
        """Move to the device and cut."""
        future = data['inputs'].get('future_points')
        data = super().simple_process(data, training)
        if future is not None:
            data['inputs']['future_points'] = self.cast_data(future)
        data['inputs']['points'] = [
            list(points.split(sample.num_points))
            for points, sample in zip(data['inputs']['points'], data['data_samples'], strict=True)
        ]
        return data
