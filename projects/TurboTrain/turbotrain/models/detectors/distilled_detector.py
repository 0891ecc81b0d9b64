"""A student that fuses maps, guided by a teacher that sees all points at once."""

import os
from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from torch import Tensor, nn
from torch.nn import functional

from ...errors import SettingError
from ..ranges import refuse_other_ranges
from .cooperative_detector import CooperativeDetector

__all__ = ['DistilledCooperativeDetector']


@MODELS.register_module()
class DistilledCooperativeDetector(CooperativeDetector):
    r"""DiscoNet's training: at every cell, the student's map is to say what the teacher's says.

    The teacher is a detector of early fusion: it gets the points of all agents in one cloud. Both
    maps are taken as distributions over channels,

    .. math:: L_{distill} = \frac{\lambda}{CHW} \sum_{n \in H \times W}
              \mathrm{KL}(\mathrm{softmax}(T_n) \,\|\, \mathrm{softmax}(S_n)).

    The teacher is frozen and belongs to training alone: it is built for the first step, is not
    counted among the parameters, and is not in the checkpoints.

    Source: DiscoNet (Li et al., NeurIPS 2021), with the direction, the mean over cells and
    channels, and the weight of the code published with HEAL (1e4). That one map is compared, the
    one that the heads get, is our choice (DiscoNet compares those of its decoder's layers, too).

    Args:
        teacher: ``dict(config=..., checkpoint=...)``, files of the teacher, or the config of a
            model (with ``type``), whose ``init_cfg`` may name its weights.
        distill_weight: :math:`\lambda`, of ``loss_distill``.
        kwargs: see :class:`CooperativeDetector`.

    Raises:
        FileNotFoundError: at the first step, a file of the teacher is missing.
        SettingError: ``teacher`` is neither of the two, or its map has another range or shape.
    """

    def __init__(self, *, teacher: dict, distill_weight: float = 1e4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if 'type' not in teacher and set(teacher) != {'config', 'checkpoint'}:
            raise SettingError(
                "teacher: expected dict(config='file', checkpoint='file') or the config of a "
                f'model, got keys {sorted(teacher)}'
            )
        self.teacher_cfg = teacher
        self.distill_weight = distill_weight
        # In a list, where torch does not look for modules.
        self._teacher: list[nn.Module] = []

    def teacher(self, device: torch.device) -> nn.Module:
        """The teacher, on a device; built when first asked for."""
        if not self._teacher:
            # The student's random numbers are those it has without a teacher.
            with torch.random.fork_rng(devices=[]):
                self._teacher.append(_build(self.teacher_cfg, self.point_cloud_range))
        return self._teacher[0].to(device)

    def loss(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """Losses of the heads, and ``loss_distill``."""
        bev = self.extract_feat(batch_inputs_dict, batch_data_samples)
        around = self._surroundings(batch_inputs_dict, batch_data_samples, bev[0].device)
        losses = self._head_losses(bev, bev[0], batch_data_samples, around, **kwargs)
        with torch.no_grad():
            teacher = self.teacher(bev[0].device)
            target = teacher.extract_feat(*_merged(batch_inputs_dict, batch_data_samples))[0]
        if target.shape != bev[0].shape:
            raise SettingError(
                f"the teacher's map has shape {tuple(target.shape)}, the student's "
                f'{tuple(bev[0].shape)}'
            )
        said, wanted = bev[0].float().log_softmax(dim=1), target.float().log_softmax(dim=1)
        divergence = functional.kl_div(said, wanted, reduction='none', log_target=True)
        return losses | dict(loss_distill=self.distill_weight * divergence.mean())


def _build(cfg: dict, limits: list[float]) -> nn.Module:
    """A frozen teacher, in evaluation mode, whose map covers the student's range."""
    if 'type' in cfg:
        refuse_other_ranges('point_cloud_range', limits, dict(teacher=cfg))
        teacher = MODELS.build(cfg)
        teacher.init_weights()
    else:
        checkpoint = cfg['checkpoint']
        if '://' not in checkpoint and not os.path.isfile(checkpoint):
            raise FileNotFoundError(
                f'there is no checkpoint {checkpoint!r} of the teacher; train {cfg["config"]} '
                'first, or name another with --cfg-options model.teacher.checkpoint=FILE'
            )
        model = Config.fromfile(cfg['config']).model
        refuse_other_ranges('point_cloud_range', limits, {cfg['config']: model})
        teacher = MODELS.build(model)
        try:
            load_checkpoint(teacher, checkpoint, map_location='cpu', strict=True)
        except RuntimeError as error:
            raise SettingError(
                f'{checkpoint} is no checkpoint of the teacher, {cfg["config"]}: '
                f'{" ".join(str(error).split())[:200]}'
            ) from error
    return teacher.requires_grad_(False).eval()


def _merged(inputs: dict, samples: list[Det3DDataSample]) -> tuple[dict, list[Det3DDataSample]]:
    """The same samples with one agent, who has the points of all in the ego's frame."""
    clouds, alone = [], []
    for points, sample in zip(inputs['points'], samples, strict=True):
        agents = sample.agents
        if not agents.points_in_ego:
            raise SettingError(
                'the teacher wants all points in the frame of the ego: put ProjectPointsToEgo '
                'into the pipeline'
            )
        frames = agents.num_frames
        clouds.append([torch.cat(points[frame::frames]) for frame in range(frames)])
        merged = Det3DDataSample(metainfo=sample.metainfo)
        merged.set_metainfo(dict(agents=agents.ego_alone(valid=agents.valid.any(axis=0))))
        alone.append(merged)
    return {**inputs, 'points': clouds}, alone
