"""From a collated batch to the clouds that cooperative models take."""

from mmdet3d.models import Det3DDataPreprocessor
from mmdet3d.registry import MODELS

__all__ = ['CooperativeDataPreprocessor']


@MODELS.register_module()
class CooperativeDataPreprocessor(Det3DDataPreprocessor):
    """Cut each sample's points into the clouds of its agents and frames.

    A sample travels from worker to model as one tensor (see ``PackCooperativeInputs``); models get
    ``inputs['points']``, for each sample N*T tensors (P, 4), agent-major.
    """

    def simple_process(self, data: dict, training: bool = False) -> dict:
        """Move to the device and cut."""
        data = super().simple_process(data, training)
        data['inputs']['points'] = [
            list(points.split(sample.num_points))
            for points, sample in zip(data['inputs']['points'], data['data_samples'], strict=True)
        ]
        return data
