"""Stage 1: self-supervised pretraining of a detector's trunk."""

from typing import Any

import torch
from mmdet3d.models import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from torch import Tensor

__all__ = ['MaskedPretrainer']

_HEADS = ('bbox_head', 'trajectory_head')


@MODELS.register_module()
class MaskedPretrainer(Base3DDetector):
    """Pretrain backbone, temporal fusion and multi-agent fusion by masked reconstruction.

    Cells are hidden in every agent's and every frame's cloud; the detector's trunk encodes and
    fuses what is left; the head reconstructs, in the hidden cells of the current frame, the merged
    cloud of all agents in the ego's frame. No labels are used.

    Its checkpoints name the trunk's weights as the detector itself does: stage 2 reads them with
    ``load_from``.

    Source: TurboTrain (Zhou et al., ICCV 2025), whose mechanism extends CooPre's to time; what is
    masked and reconstructed is our reading.

    Args:
        detector: config of a detector; its heads are left out.
        masking: config of a masking module.
        reconstruction_head: config of the head.
        data_preprocessor: mmdet3d's.
        init_cfg: mmengine's.
    """

    def __init__(
        self,
        detector: dict,
        masking: dict,
        reconstruction_head: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.detector = MODELS.build(detector)
        for name in _HEADS:
            setattr(self.detector, name, None)
        self.masking = MODELS.build(masking)
        self.reconstruction_head = MODELS.build(reconstruction_head)
        self._register_state_dict_hook(_strip_prefix)
        self._register_load_state_dict_pre_hook(_add_prefix, with_module=True)

    def loss(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """Losses of the reconstruction."""
        samples = batch_inputs_dict['points']
        counts = [len(sample) for sample in samples]
        visible, hidden = self.masking([cloud for sample in samples for cloud in sample])
        inputs = {**batch_inputs_dict, 'points': _regroup(visible, counts)}
        bev = self.detector.extract_feat(inputs, batch_data_samples)[0]
        clouds, taken = [], []
        for sample, mask, data in zip(
            samples, _regroup(hidden, counts), batch_data_samples, strict=True
        ):
            frames = data.agents.num_frames
            current, current_mask = sample[frames - 1 :: frames], mask[frames - 1 :: frames]
            ego_from_points = torch.from_numpy(data.agents.ego_from_features).to(bev.device)
            # Half precision would round metres to centimetres.
            with torch.autocast(bev.device.type, enabled=False):
                moved = [
                    points[:, :3] @ matrix[:3, :3].T + matrix[:3, 3]
                    for points, matrix in zip(current, ego_from_points.float(), strict=True)
                ]
            clouds.append(torch.cat(moved))
            taken.append(torch.cat(current_mask))
        return self.reconstruction_head.loss(bev, clouds, taken)

    def extract_feat(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]
    ) -> list[Tensor]:
        """The trunk on unmasked input."""
        return self.detector.extract_feat(batch_inputs_dict, batch_data_samples)

    def predict(self, *args: Any, **kwargs: Any) -> list[Det3DDataSample]:
        """There is nothing to predict before stage 2."""
        raise RuntimeError('MaskedPretrainer has no detection head; test the fine-tuned detector')

    _forward = predict


def _regroup(items: list[Tensor], counts: list[int]) -> list[list[Tensor]]:
    iterator = iter(items)
    return [[next(iterator) for _ in range(count)] for count in counts]


def _strip_prefix(module: MaskedPretrainer, state: dict, prefix: str, *_: Any) -> None:
    """Name the trunk's weights as the detector does."""
    inner = f'{prefix}detector.'
    for key in [key for key in state if key.startswith(inner)]:
        state[prefix + key.removeprefix(inner)] = state.pop(key)


def _add_prefix(module: MaskedPretrainer, state: dict, prefix: str, *_: Any) -> None:
    """Undo :func:`_strip_prefix`."""
    own = tuple(f'{prefix}{name}.' for name, child in module.named_children() if name != 'detector')
    for key in [key for key in state if key.startswith(prefix) and not key.startswith(own)]:
        state[f'{prefix}detector.{key.removeprefix(prefix)}'] = state.pop(key)
