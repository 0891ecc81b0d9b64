"""What encodes and fuses the clouds of many agents and frames."""

from collections.abc import Sequence

import torch
from mmdet3d.models import Base3DDetector
from mmdet3d.structures import Det3DDataSample
from torch import Tensor

from ...errors import SettingError
from ..compression import FeatureCompression
from ..map_encoder import stack_maps
from ..parts import build_part
from .agent_batch import AgentBatch

__all__ = ['CooperativeTrunk']


class CooperativeTrunk(Base3DDetector):
    """Backbone, temporal fusion and multi-agent fusion: what is pretrained, below any heads.

    Every cloud is encoded by itself; each agent fuses its frames; the ego fuses the agents' maps,
    one each ("one-step communication").

    Args:
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]`` (m) of the maps.
        channels: C of the maps that agents share and that heads look at.
        encoder: points of K clouds to (K, C, H, W).
        backbone: mmdet3d's 2-D backbone.
        neck: mmdet3d's neck, which gives one map.
        temporal_neck: (agents, frames) to agents; None is for samples of one frame.
        fusion_neck: agents to ego; None is for detectors that do not fuse maps.
        compression: what an agent sends in place of its map; None sends the map itself.
        map_neck: has the fused map attend to the vector map, e.g. ``VectorMapNeck``; None does not.
        bev_neck: mmdet3d's neck on the fused map, e.g. to bring it to the heads' resolution; None
            leaves the map as the agents sent theirs.
        norm_cfg: normalisation of 2-D maps; None leaves the parts theirs.
        past_gradients: whether encoder, backbone and neck learn from past frames, too. Otherwise
            these are encoded first, and by themselves, without gradients, as in BEVFormer (ECCV
            2022); batch norm then normalises past and current clouds apart in training.
        data_preprocessor: mmdet3d's.
        init_cfg: mmengine's.

    Parts whose configs leave out ``point_cloud_range``, ``channels``, ``norm_cfg`` or, of
    ``bev_neck``, ``in_channels`` get the trunk's. The encoder works on points and keeps its own
    normalisation.
    """

    def __init__(
        self,
        *,
        point_cloud_range: Sequence[float],
        channels: int,
        encoder: dict,
        backbone: dict,
        neck: dict,
        temporal_neck: dict | None,
        fusion_neck: dict | None,
        compression: dict | None = None,
        map_neck: dict | None = None,
        bev_neck: dict | None = None,
        norm_cfg: dict | None = None,
        past_gradients: bool = True,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.point_cloud_range = limits = list(point_cloud_range)
        shared = dict(point_cloud_range=limits, channels=channels, norm_cfg=norm_cfg)
        self.encoder = build_part(encoder, point_cloud_range=limits)
        self.backbone = build_part(backbone, norm_cfg=norm_cfg)
        self.neck = build_part(neck, norm_cfg=norm_cfg)
        self.temporal_neck = build_part(temporal_neck, **shared)
        self.fusion_neck = build_part(fusion_neck, **shared)
        self.compression = build_part(compression, **shared)
        flow = getattr(self.fusion_neck, 'flow_channels', 0)
        if flow and isinstance(self.compression, FeatureCompression):
            raise SettingError(
                'FeatureCompression sends a map, and the flow that '
                f'{type(self.fusion_neck).__name__} wants beside it would be lost: '
                'PrincipalCompression sends both'
            )
        self.map_neck = build_part(map_neck, **shared)
        self.bev_neck = build_part(bev_neck, in_channels=[channels], norm_cfg=norm_cfg)
        self.past_gradients = past_gradients

    def extract_feat(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]
    ) -> list[Tensor]:
        """The trunk.

        Args:
            batch_inputs_dict: ``points``: for each sample a list of N*T tensors (P, 4).
            batch_data_samples: their metainfo holds ``agents`` and, in testing, gets
                ``message_bytes``, what each of the other agents with a cloud sends, unless a
                transform has set it.

        Returns:
            One fused map (B, C, H, W) in the ego's frame, in a list as mmdet3d's heads take it.
        """
        maps, batch = self.encode(batch_inputs_dict, batch_data_samples)
        sent = self._received(self.fuse_frames(maps, batch), batch.is_ego)
        bev = self.fuse_agents(sent, batch, batch.valid.any(dim=1))
        self._note_messages(batch_inputs_dict, batch_data_samples, maps)
        return self.finish(bev, batch_data_samples)

    def finish(self, bev: Tensor, samples: list[Det3DDataSample]) -> list[Tensor]:
        """From the fused map (B, C, H, W) to what the heads look at."""
        if self.map_neck is not None:
            bev = self.map_neck(bev, stack_maps(samples, bev.device))
        return [bev] if self.bev_neck is None else self.bev_neck([bev])

    def encode_clouds(self, clouds: list[Tensor]) -> Tensor:
        """K clouds (P, 4) to (K, C, H, W), each by itself."""
        return self.neck(self.backbone(self.encoder(clouds)))[0]

    def encode(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]
    ) -> tuple[Tensor, AgentBatch]:
        """Every cloud by itself.

        Returns:
            (sum N_i, T, C, H, W), a sample's agents side by side, its ego first; and who they are.
        """
        clouds = [cloud for sample in batch_inputs_dict['points'] for cloud in sample]
        agents = [sample.agents for sample in batch_data_samples]
        frames = {record.num_frames for record in agents}
        in_ego = {record.points_in_ego for record in agents}
        if len(frames) > 1 or len(in_ego) > 1:
            raise SettingError(
                f'samples of one batch differ in their number of frames {sorted(frames)} or in '
                f'points_in_ego {sorted(in_ego)}'
            )
        maps = self._encode_frames(clouds, frames.pop())
        return maps, AgentBatch(agents, maps)

    def _encode_frames(self, clouds: list[Tensor], frames: int) -> Tensor:
        if frames == 1 or self.past_gradients or not torch.is_grad_enabled():
            maps = self.encode_clouds(clouds)
            return maps.view(-1, frames, *maps.shape[1:])
        with torch.no_grad():
            past = self.encode_clouds([c for i, c in enumerate(clouds, 1) if i % frames])
        # Before torch 2.11 autocast keeps what it has cast the weights to, here without a gradient.
        torch.clear_autocast_cache()
        now = self.encode_clouds(clouds[frames - 1 :: frames])  # last: what hooks see has gradients
        return torch.cat([past.view(-1, frames - 1, *past.shape[1:]), now[:, None]], dim=1)

    def fuse_frames(self, maps: Tensor, batch: AgentBatch) -> Tensor:
        """(sum N_i, T, C, H, W) to (sum N_i, C, H, W), each agent for itself."""
        if self.temporal_neck is None:
            if maps.shape[1] > 1:
                raise SettingError(f'{maps.shape[1]} frames need a temporal_neck, which is None')
            return maps[:, 0]
        return self.temporal_neck(
            maps,
            time_offsets=batch.time_offsets,
            valid=batch.valid,
            current_from_frame=None if batch.points_in_ego else batch.current_from_frame,
        )

    def fuse_agents(self, maps: Tensor, batch: AgentBatch, valid: Tensor) -> Tensor:
        """(sum N_i, C, H, W), as they have arrived, to (B, C, H, W).

        Args:
            maps: one of each agent.
            batch: who they are.
            valid: see :class:`BaseFusionNeck`.
        """
        return self.fusion_neck(
            maps,
            num_agents=batch.num_agents,
            kinds=batch.kinds,
            valid=valid,
            ego_from_agent=None if batch.points_in_ego else batch.ego_from_agent[:, -1],
            delays=batch.delays,
        )

    def _note_messages(self, inputs: dict, samples: list[Det3DDataSample], maps: Tensor) -> None:
        """Say what was sent; where an agent sends some of the cells only, also which they are."""
        if self.training:
            return
        channels, cells = maps.shape[2] + self.fusion_neck.flow_channels, maps[0, 0, 0].numel()

        def size(count: int) -> int:
            if self.compression is not None:
                return self.compression.message_bytes(count, channels)
            return 4 * channels * count

        sent = self.fusion_neck.sent_cells
        sent = None if sent is None else sent.tolist()
        for i, sample in enumerate(samples):
            if 'message_bytes' in sample:
                continue
            senders = sample.agents.valid[1:].any(axis=1).nonzero()[0] + 1
            if sent is None:
                sizes = [size(cells)] * len(senders)
            else:
                which = -(-cells // 8)  # a bit for each cell
                sizes = [size(sent[i][n]) + which for n in senders]
            if len(senders):
                other = self._other_bytes(inputs['points'][i], sample)
                sizes = [own + other[n] for own, n in zip(sizes, senders, strict=True)]
            sample.set_metainfo(dict(message_bytes=sizes))

    def _other_bytes(self, clouds: list[Tensor], sample: Det3DDataSample) -> list[int]:
        """What each agent of a sample, the ego included, sends beside its map."""
        return [0] * len(sample.agents)

    def _received(self, maps: Tensor, is_ego: Tensor) -> Tensor:
        """The agents' maps as they arrive; the ego has its own as it is."""
        if self.compression is None:
            return maps
        return maps.where(is_ego[:, None, None, None], self.compression(maps))
