"""Stage 1: self-supervised pretraining of a detector's trunk."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmdet3d.models import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.model import ModuleDict
from torch import Tensor, nn

from ..errors import SettingError
from ..models.detectors.cooperative_detector import CooperativeDetector
from ..models.detectors.late_fusion_detector import LateFusionDetector
from ..models.layers.map_layers import map_rows
from ..models.ranges import refuse_other_ranges
from .masked_batch import MaskedBatch
from .masking import BaseMasking
from .stock import (
    first_map,
    map_backbone,
    map_channels,
    range_of,
    refuse_other_models,
    trunk_channels,
)

__all__ = ['MaskedPretrainer', 'Reconstruction']

_TARGETS = ('merged', 'own', 'future')
_HIDING = ('visible_only', 'token')


class Reconstruction(NamedTuple):
    """One sample, what was hidden of it, and what the network makes of that; metres, ego frame."""

    clouds: list[Tensor]
    """Its clouds (P, 3), agent-major; the last of each agent is the current one."""
    hidden: list[Tensor]
    """For each cloud which points were hidden, (P,) bool."""
    current: list[int]
    """Which of the clouds are current."""
    predicted: Tensor
    """(Q, 3) points that the network puts in the hidden cells of the current frame."""
    truth: Tensor
    """(R, 3) hidden points of the current frame that it is asked for."""


@MODELS.register_module()
class MaskedPretrainer(Base3DDetector):
    """Pretrain the trunk of a LiDAR detector by masked reconstruction; no labels are used.

    Places are hidden from every agent's and every frame's cloud; the detector's trunk encodes and
    fuses what is left; the head reconstructs what was hidden. The detector is our cooperative one,
    or any of mmdet3d's that encodes voxels into a bird's-eye-view map. Checkpoints name the trunk's
    weights as the detector itself does: stage 2 reads them with ``load_from``.

    Source: TurboTrain (Zhou et al., ICCV 2025), whose mechanism extends CooPre's to time; what is
    masked and reconstructed is our reading.

    Args:
        detector: config of a detector; its heads are left out.
        masking: config of a masking module; 70 % of the cells of 0.8 m by default.
        reconstruction_head: config of the head; there is one for each target. Of both configs,
            ``point_cloud_range`` and ``in_channels`` are the detector's unless they are given.
        targets: what is reconstructed, one or more of

            * ``merged``: in the hidden cells of the current frame the cloud of all agents, in the
              ego's frame, from the fused map;
            * ``own``: in the hidden cells of each agent's current cloud that cloud, in the frame
              its points are in, from the agent's own map before the agents are fused. Alone, it
              leaves the fusion of agents untrained;
            * ``future``: in all cells the cloud of all agents some time later, in the ego's current
              frame, from the fused map (ours). Needs ``LoadFuturePoints`` in the pipeline.
        hiding: ``visible_only`` leaves hidden places empty, and what is not encoded costs nothing.
            ``token`` also adds a learned vector there, to the map that the 2-D backbone gets, so
            that the network can tell hidden from empty. The places are those that were drawn,
            occupied or not: the token does not tell where something is either.
        data_preprocessor: the detector's by default. Points are voxelized after masking.
        init_cfg: mmengine's.

    Raises:
        SettingError: the detector is none on a bird's-eye-view map; a target or way of hiding is
            not among the known ones or does not suit the detector; its config does not say what
            another part needs; or the head's range is another one.
    """

    limits: Tensor
    masking: BaseMasking
    detector: Base3DDetector

    def __init__(
        self,
        detector: dict,
        masking: dict | None = None,
        reconstruction_head: dict | None = None,
        targets: Sequence[str] = ('merged',),
        hiding: str = 'visible_only',
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        refuse_other_models(detector)
        if data_preprocessor is None:
            if not detector.get('data_preprocessor'):
                raise SettingError(
                    'detector has no data_preprocessor, which says how points are voxelized'
                )
            data_preprocessor = {**detector['data_preprocessor'], 'voxel': False}
        elif data_preprocessor.get('voxel'):
            raise SettingError(
                'data_preprocessor.voxel: points are voxelized after masking, by the '
                "detector's own preprocessor; leave it out"
            )
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if not targets or not set(targets) <= set(_TARGETS):
            raise SettingError(f'targets must be some of {_TARGETS}, got {tuple(targets)}')
        if hiding not in _HIDING:
            raise SettingError(f'hiding must be one of {_HIDING}, got {hiding!r}')
        limits = range_of(detector)
        self.register_buffer('limits', torch.tensor(limits, dtype=torch.float32), persistent=False)
        masking = {'type': 'BEVCellMasking', 'point_cloud_range': limits, **(masking or {})}
        head = {'type': 'MaskedReconstructionHead', **(reconstruction_head or {})}
        head.setdefault('point_cloud_range', limits)
        refuse_other_ranges("the detector's range", limits, dict(reconstruction_head=head))
        if 'in_channels' not in head:
            head['in_channels'] = trunk_channels(detector)
        self.mask_token = _MaskToken(map_channels(detector)) if hiding == 'token' else None
        self.masking = MODELS.build(masking)
        # mmengine's, which hands on the call of init_weights.
        self.reconstruction_head = ModuleDict({name: MODELS.build(head) for name in targets})
        self.detector = _without_heads(MODELS.build(detector))
        if isinstance(self.detector, CooperativeDetector):
            self.detector.past_gradients = True  # hidden places are found in all frames
        if 'own' in targets and not _fuses_agents_last(self.detector):
            raise SettingError(
                "target 'own' wants a detector in which each agent fuses its frames by itself; of "
                "a single agent, 'merged' is its own cloud"
            )
        late = isinstance(self.detector, LateFusionDetector)
        if late and (self.detector.decoupled or {*targets} != {'own'}):
            raise SettingError(
                'LateFusionDetector fuses boxes, not maps: pretrain it with targets=("own",) and '
                'detector.decoupled=False, without which no gradient reaches its backbone; its '
                f'weights suit both. Got targets={tuple(targets)}, '
                f'decoupled={self.detector.decoupled}'
            )
        self._register_state_dict_hook(_strip_prefix)
        self._register_load_state_dict_pre_hook(_add_prefix, with_module=True)

    def loss(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """Losses of the reconstruction, each named ``<target>.loss_<what>``."""
        batch = MaskedBatch(batch_inputs_dict, batch_data_samples, self.masking, self.limits)
        maps = self._encode(batch)
        losses = {}
        head: Any  # whatever the config names
        for name, head in self.reconstruction_head.items():
            target = getattr(batch, f'{name}_target')(maps[name].shape[2:])
            found = head.loss(maps[name], target)
            losses.update({f'{name}.{key}': value for key, value in found.items()})
        return losses

    @torch.no_grad()
    def reconstruct(self, data: dict) -> list[Reconstruction]:
        """Hide and reconstruct the merged current clouds of a batch as a dataloader gives it.

        Raises:
            SettingError: ``merged`` is not among the targets.
        """
        if 'merged' not in self.reconstruction_head:
            raise SettingError(
                f"only target 'merged' can be drawn; this model has {[*self.reconstruction_head]}"
            )
        data = self.data_preprocessor(data, False)
        batch = MaskedBatch(data['inputs'], data['data_samples'], self.masking, self.limits)
        bev = self._encode(batch)['merged']
        target = batch.merged_target(bev.shape[2:])
        head: Any = self.reconstruction_head['merged']
        predicted = head.reconstruct(bev, target.hidden_cells)
        return [
            Reconstruction(
                [batch.masked.in_ego[i] for i in own],
                [batch.masked.hidden[i] for i in own],
                [i - own[0] for i in current],
                *points,
            )
            for own, current, *points in zip(
                batch.of_sample, batch.current, predicted, head.truth(target), strict=True
            )
        ]

    def extract_feat(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]
    ) -> Any:
        """What the detector's own method gives for unmasked input."""
        preprocessor = self.detector.data_preprocessor
        if getattr(preprocessor, 'voxel', False):
            points = [_in_range(cloud, self.limits) for cloud in batch_inputs_dict['points']]
            voxels = preprocessor.voxelize(points, batch_data_samples)
            batch_inputs_dict = {**batch_inputs_dict, 'points': points, 'voxels': voxels}
        extract = self.detector.extract_feat
        wanted = [*inspect.signature(extract).parameters.values()][1:]
        # mmdet3d's single-stage detectors take the inputs alone, those with cameras metainfos.
        if not wanted or wanted[0].default is not inspect.Parameter.empty:
            return extract(batch_inputs_dict)
        if wanted[0].name == 'batch_input_metas':
            return extract(batch_inputs_dict, [sample.metainfo for sample in batch_data_samples])
        return extract(batch_inputs_dict, batch_data_samples)

    def predict(self, *args: Any, **kwargs: Any) -> list[Det3DDataSample]:
        """There is nothing to predict before stage 2."""
        raise RuntimeError('MaskedPretrainer has no detection head; test the fine-tuned detector')

    _forward = predict

    def _encode(self, batch: MaskedBatch) -> dict[str, Tensor]:
        """The maps of each target (B or sum N_i, C, H, W), encoded from what is visible."""
        kept: dict[str, Tensor] = {}

        def keep(module: nn.Module, args: tuple, output: Tensor) -> None:
            # Some fusion necks want a flow beside the map.
            flow = getattr(self.detector.fusion_neck, 'flow_channels', 0)
            kept['own'] = output[:, : output.shape[1] - flow]

        hooks = []
        if (token := self.mask_token) is not None:

            def mark(module: nn.Module, args: tuple) -> tuple:
                hidden = batch.hidden_maps(args[0].shape[2:], in_ego=False)
                return (token(args[0], hidden), *args[1:])

            hooks.append(map_backbone(self.detector).register_forward_pre_hook(mark))
        if 'own' in self.reconstruction_head:
            hooks.append(self.detector.temporal_neck.register_forward_hook(keep))
        try:
            found = self.extract_feat(batch.visible_inputs(), batch.samples)
            fused = first_map(found, self.detector)
        finally:
            for hook in hooks:
                hook.remove()
        return kept | dict(merged=fused, future=fused)


class _MaskToken(nn.Module):
    """A learned vector for hidden places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(channels))  # as CooPre's and BEV-MAE's start

    def forward(self, maps: Tensor, hidden: Tensor) -> Tensor:
        """Add it to maps (K, C, H, W) where ``hidden`` (K, H, W)."""
        rows, where = map_rows(maps).flatten(0, 1), hidden.flatten()[:, None]
        marked = torch.addmm(rows, where.to(rows.dtype), self.vector[None])
        return marked.view(*hidden.shape, -1).permute(0, 3, 1, 2)


def _without_heads(detector: Base3DDetector) -> Base3DDetector:
    for name, _ in list(detector.named_children()):
        # The encoder of points is the second stage's, and reads what the first one has proposed.
        if name.endswith('head') or name == 'points_encoder':
            # Not None: MVXTwoStageDetector encodes nothing where there is no head for it.
            setattr(detector, name, nn.Identity())
    return detector


def _fuses_agents_last(detector: Base3DDetector) -> bool:
    return getattr(detector, 'temporal_neck', None) is not None


def _in_range(cloud: Tensor, limits: Tensor) -> Tensor:
    """The points within the range, which NaN is not; of none, two in its opposite corners.

    mmdet3d's detectors cannot encode nothing, nor can batch norm do with a single voxel.
    """
    low, high = limits[:3], limits[3:]
    cloud = cloud[((cloud[:, :3] > low) & (cloud[:, :3] < high)).all(dim=1)]
    if len(cloud):
        return cloud
    corners = cloud.new_zeros(2, cloud.shape[1])
    corners[:, :3] = torch.stack([low, high]).lerp((low + high) / 2, 1e-3)
    return corners


def _strip_prefix(module: MaskedPretrainer, state: dict, prefix: str, *_: Any) -> None:
    """Name the trunk's weights as the detector does.

    Versions of modules go by the modules' names: a layer that does not find its own takes its
    weights for older ones, as sparse convolutions do, which then permute them.
    """
    inner = f'{prefix}detector.'
    for named in (state, getattr(state, '_metadata', {})):
        for key in [key for key in named if key.startswith(inner)]:
            named[prefix + key.removeprefix(inner)] = named.pop(key)


def _add_prefix(module: MaskedPretrainer, state: dict, prefix: str, *_: Any) -> None:
    """Undo :func:`_strip_prefix`."""
    own = tuple(f'{prefix}{name}' for name, child in module.named_children() if name != 'detector')
    for key in [key for key in state if key.startswith(prefix) and not _is_of(key, own)]:
        state[f'{prefix}detector.{key.removeprefix(prefix)}'] = state.pop(key)
    # Beside the given names: who loads keeps them, and this may be a pretrainer's or a detector's.
    versions = getattr(state, '_metadata', {})
    for key in [key for key in versions if key.startswith(prefix) and not _is_of(key, own)]:
        versions.setdefault(f'{prefix}detector.{key.removeprefix(prefix)}', versions[key])


def _is_of(key: str, modules: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f'{name}.') for name in modules)
