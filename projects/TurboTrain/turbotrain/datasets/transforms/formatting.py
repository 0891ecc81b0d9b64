"""From arrays to what models take."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from ...structures import last_acceleration, last_velocity

__all__ = ['PackCooperativeInputs']

_DTYPES = dict(
    labels_3d=torch.int64,
    track_ids=torch.int64,
    future_trajectories=torch.float32,
    future_valid=torch.bool,
    history_trajectories=torch.float32,
    history_valid=torch.bool,
)
_META_KEYS = (
    'agents', 'sample_idx', 'scenario', 'frame', 'cloud_paths', 'vector_map', 'vector_map_mask',
    'message_bytes', 'future_is_known',
)  # fmt: skip


@TRANSFORMS.register_module()
class PackCooperativeInputs(BaseTransform):
    """Pack a sample as mmdet3d's models and metrics take it.

    Returns:
        ``inputs['points']``: the N*T clouds, agent-major, in one float32 tensor (sum P, 4): one
        tensor, not twenty, goes from a worker to the trainer. ``inputs['future_points']``, if
        loaded: all agents' points some time later. ``data_samples``: a
        Det3DDataSample whose ``gt_instances_3d`` hold ``bboxes_3d`` (LiDARInstance3DBoxes),
        ``labels_3d``, ``track_ids``, ``future_trajectories`` (M, F, 2), ``future_valid`` (M, F),
        ``history_trajectories`` (M, T, 2) and ``history_valid`` (M, T), ``velocity`` (M, 2) m/s,
        from the last past position to the current one, and ``velocity_valid`` (M,),
        ``acceleration`` (M, 2) m/s^2 and ``acceleration_valid`` (M,) likewise, and whose metainfo
        holds ``agents``, ``num_points`` (the clouds' lengths), ``scenario``, ``frame``,
        ``sample_idx``, ``cloud_paths`` and, if loaded, ``vector_map`` with its mask and
        ``future_is_known``.
    """

    def transform(self, results: dict) -> dict:
        """Pack."""
        boxes = torch.from_numpy(results['gt_bboxes_3d'].astype(np.float32))
        instances = InstanceData(bboxes_3d=LiDARInstance3DBoxes(boxes))
        for name, dtype in _DTYPES.items():
            instances[name] = torch.as_tensor(results[f'gt_{name}'], dtype=dtype)
        past = (
            results['gt_history_trajectories'],
            results['gt_history_valid'],
            results['agents'].time_offsets,
        )
        for name, (value, known) in (
            ('velocity', last_velocity(*past)),
            ('acceleration', last_acceleration(*past)),
        ):
            instances[name] = torch.from_numpy(value.astype(np.float32))
            instances[f'{name}_valid'] = torch.from_numpy(known)
        meta = {key: results[key] for key in _META_KEYS if key in results}
        meta['num_points'] = [len(cloud) for cloud in results['points']]
        sample = Det3DDataSample()
        for key, value in (meta | dict(box_type_3d=LiDARInstance3DBoxes)).items():
            # Not as one metainfo, of which mmengine makes a deep copy.
            sample.set_field(value, key, field_type='metainfo')
        sample.gt_instances_3d = instances
        inputs = {
            key: torch.from_numpy(np.concatenate(results[key]))
            for key in ('points', 'future_points')
            if key in results
        }
        return dict(inputs=inputs, data_samples=sample)
