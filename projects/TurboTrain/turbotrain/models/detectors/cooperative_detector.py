"""The multi-agent, multi-frame, multi-task network."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet3d.models import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...errors import SettingError
from ...structures import Agents, driving_lanes
from ..duplicates import demote_duplicates
from ..headings import head_along, head_with_traffic
from ..heads import Motion, VelocityHead
from ..map_encoder import VectorMaps, stack_maps
from ..occupancy import OccupancyMaps
from ..parts import build_part
from ..ranges import refuse_other_ranges

__all__ = ['AgentBatch', 'CooperativeDetector', 'Surroundings']


class Surroundings(NamedTuple):
    """What heads look at beside the fused map.

    Attributes:
        vector_maps: of the samples; None where no head looks at them.
        occupancy: of the samples; None where no head looks at it.
    """

    vector_maps: VectorMaps | None
    occupancy: OccupancyMaps | None


@MODELS.register_module()
class CooperativeDetector(Base3DDetector):
    """Backbone, temporal fusion, multi-agent fusion, detection head and prediction heads.

    The network of V2XPnP and TurboTrain: every cloud is encoded by itself; each agent fuses its
    frames; the ego fuses the agents' maps, one each ("one-step communication"); boxes are detected
    on the fused map, and a path is forecast for each box.

    Args:
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]`` (m) of the maps.
        channels: C of the maps that agents share and that heads look at.
        encoder: points of K clouds to (K, C, H, W).
        backbone: mmdet3d's 2-D backbone.
        neck: mmdet3d's neck, which gives one map.
        temporal_neck: (agents, frames) to agents; None is for samples of one frame.
        fusion_neck: agents to ego; None is for detectors that do not fuse maps.
        bbox_head: any detection head of mmdet3d that takes a list of BEV maps.
        velocity_head: tells how boxes move, and turns them to head where they go; None does not.
        trajectory_head: forecasts boxes; None detects only.
        compression: what an agent sends in place of its map; None sends the map itself.
        map_neck: has the fused map attend to the vector map, e.g. ``VectorMapNeck``; None does not.
        bev_neck: mmdet3d's neck on the fused map, e.g. to bring it to the heads' resolution; None
            leaves the map as the agents sent theirs.
        duplicates: settings of :func:`~..duplicates.demote_duplicates`, which lowers the scores of
            detections that overlap a better one; None leaves them as the detection head gives them.
        lane_bound: labels of the classes whose boxes head as the lane of the vector map does that
            they are on, if they do not move; see :func:`~..headings.head_with_traffic`.
        norm_cfg: normalisation of 2-D maps; None leaves the parts theirs.
        frozen: names of modules, e.g. ``'backbone'``, that training leaves as they are, their batch
            norms' statistics included.
        past_gradients: whether encoder, backbone and neck learn from past frames, too. Otherwise
            these are encoded first, and by themselves, without gradients, as in BEVFormer (ECCV
            2022); batch norm then normalises past and current clouds apart in training.
        train_cfg: the detection head's.
        test_cfg: the detection head's.
        data_preprocessor: mmdet3d's.
        init_cfg: mmengine's.

    Parts whose configs leave out ``point_cloud_range``, ``channels``, ``norm_cfg`` or, of heads and
    ``bev_neck``, ``in_channels`` get the detector's. The encoder works on points and keeps its own
    normalisation.

    Raises:
        SettingError: parts are told different ranges of the map, see :func:`refuse_other_ranges`;
            a frozen module does not exist; or the
            detection head has a ``train_cfg`` or ``test_cfg`` of its own.
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
        bbox_head: dict,
        velocity_head: dict | None = None,
        trajectory_head: dict | None = None,
        compression: dict | None = None,
        map_neck: dict | None = None,
        bev_neck: dict | None = None,
        duplicates: dict | None = None,
        lane_bound: Sequence[int] = (),
        norm_cfg: dict | None = None,
        frozen: Sequence[str] = (),
        past_gradients: bool = True,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        refuse_other_ranges(
            'point_cloud_range',
            point_cloud_range,
            dict(
                data_preprocessor=data_preprocessor,
                encoder=encoder,
                temporal_neck=temporal_neck,
                fusion_neck=fusion_neck,
                map_neck=map_neck,
                bbox_head=bbox_head,
                velocity_head=velocity_head,
                trajectory_head=trajectory_head,
                train_cfg=train_cfg,
                test_cfg=test_cfg,
            ),
        )
        for name in ('train_cfg', 'test_cfg'):
            if bbox_head.get(name) is not None:
                raise SettingError(
                    f'bbox_head.{name} would go unused: give it as {name} of the model'
                )
        self.point_cloud_range = limits = list(point_cloud_range)
        shared = dict(point_cloud_range=limits, channels=channels, norm_cfg=norm_cfg)
        of_heads = dict(point_cloud_range=limits, in_channels=channels)
        self.encoder = build_part(encoder, point_cloud_range=limits)
        self.backbone = build_part(backbone, norm_cfg=norm_cfg)
        self.neck = build_part(neck, norm_cfg=norm_cfg)
        self.temporal_neck = build_part(temporal_neck, **shared)
        self.fusion_neck = build_part(fusion_neck, **shared)
        self.compression = build_part(compression, **shared)
        self.map_neck = build_part(map_neck, **shared)
        self.bev_neck = build_part(bev_neck, in_channels=[channels], norm_cfg=norm_cfg)
        bbox_head = {**bbox_head, 'train_cfg': train_cfg, 'test_cfg': test_cfg}
        self.bbox_head = build_part(bbox_head, **of_heads)
        self.velocity_head = build_part(velocity_head, **of_heads)
        self.trajectory_head = build_part(trajectory_head, **of_heads)
        self.duplicates, self.lane_bound = duplicates, tuple(lane_bound)
        self.past_gradients = past_gradients
        self.frozen = tuple(frozen)
        for name in self.frozen:
            if not isinstance(getattr(self, name, None), nn.Module):
                raise SettingError(f'frozen: the detector has no module {name!r}')
            getattr(self, name).requires_grad_(False)

    def train(self, mode: bool = True) -> 'CooperativeDetector':
        """Switch between training and testing; frozen modules stay in testing."""
        super().train(mode)
        for name in self.frozen:
            getattr(self, name).eval()
        return self

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
    ) -> tuple[Tensor, 'AgentBatch']:
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
        now = self.encode_clouds(clouds[frames - 1 :: frames])  # last: what hooks see has gradients
        return torch.cat([past.view(-1, frames - 1, *past.shape[1:]), now[:, None]], dim=1)

    def fuse_frames(self, maps: Tensor, batch: 'AgentBatch') -> Tensor:
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

    def fuse_agents(self, maps: Tensor, batch: 'AgentBatch', valid: Tensor) -> Tensor:
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
            # Pretrainers have stand-ins for heads, which ask for nothing.
            if isinstance(self.velocity_head, VelocityHead) and len(senders):
                occupied = self._occupancy_bytes(inputs['points'][i], sample)
                sizes = [own + occupied[n] for own, n in zip(sizes, senders, strict=True)]
            sample.set_metainfo(dict(message_bytes=sizes))

    def _received(self, maps: Tensor, is_ego: Tensor) -> Tensor:
        """The agents' maps as they arrive; the ego has its own as it is."""
        if self.compression is None:
            return maps
        return maps.where(is_ego[:, None, None, None], self.compression(maps))

    def loss(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """Losses of the detection head, the velocity head and the trajectory head."""
        bev = self.extract_feat(batch_inputs_dict, batch_data_samples)
        around = self._surroundings(batch_inputs_dict, batch_data_samples, bev[0].device)
        return self._head_losses(bev, bev[0], batch_data_samples, around, **kwargs)

    def _head_losses(
        self,
        bev: list[Tensor],
        forecasting_bev: Tensor,
        samples: list[Det3DDataSample],
        around: Surroundings,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        losses = self.bbox_head.loss(bev, samples, **kwargs)
        truth = [sample.gt_instances_3d for sample in samples]
        boxes = [t.bboxes_3d.tensor.to(forecasting_bev.device) for t in truth]
        labels = [t.labels_3d for t in truth]
        motions = None
        if self.velocity_head is not None:
            own, motions = self.velocity_head.loss_and_predict(
                around.occupancy, boxes, labels, truth
            )
            losses |= own
        if self.trajectory_head is not None:
            losses |= self.trajectory_head.loss(
                forecasting_bev,
                boxes,
                labels,
                futures=[t.future_trajectories for t in truth],
                valid=[t.future_valid for t in truth],
                motions=motions,
                vector_maps=around.vector_maps,
            )
        return losses

    def predict(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> list[Det3DDataSample]:
        """Detect and forecast.

        Returns:
            The samples with ``pred_instances_3d``: ``bboxes_3d``, ``scores_3d``, ``labels_3d``;
            with a velocity head, ``velocity`` (M, 2) along the ego's axes, m/s; and with a
            trajectory head, ``trajectories`` (M, K, F, 2) in the ego's frame, metres, and
            ``trajectory_scores`` (M, K).
        """
        bev = self.extract_feat(batch_inputs_dict, batch_data_samples)
        return self.predict_on(bev, batch_inputs_dict, batch_data_samples, **kwargs)

    def predict_on(
        self, bev: list[Tensor], inputs: dict, samples: list[Det3DDataSample], **kwargs: Any
    ) -> list[Det3DDataSample]:
        """The same from what :meth:`extract_feat` returns."""
        around = self._surroundings(inputs, samples, bev[0].device)
        results = self._detect(bev, bev[0], samples, around, **kwargs)
        return self._with_results(samples, results)

    def _with_results(
        self, samples: list[Det3DDataSample], results: list[InstanceData]
    ) -> list[Det3DDataSample]:
        if self.duplicates is not None:
            results = [demote_duplicates(result, **self.duplicates) for result in results]
        return self.add_pred_to_datasample(samples, results)

    def _detect(
        self,
        bev: list[Tensor],
        forecasting_bev: Tensor,
        samples: list[Det3DDataSample],
        around: Surroundings,
        **kwargs: Any,
    ) -> list[InstanceData]:
        results = self.bbox_head.predict(bev, samples, **kwargs)
        boxes = [result.bboxes_3d.tensor.to(forecasting_bev.device) for result in results]
        labels = [result.labels_3d for result in results]
        motions, paths = self._forecast(forecasting_bev, boxes, labels, around)
        if self.lane_bound:
            of_lanes = torch.tensor(self.lane_bound, device=forecasting_bev.device)
            lanes = driving_lanes(*around.vector_maps)
            boxes = [
                head_with_traffic(box, own, torch.isin(label, of_lanes))
                for box, own, label in zip(boxes, lanes, labels, strict=True)
            ]
        if motions is not None:
            boxes = [head_along(b, m.velocity) for b, m in zip(boxes, motions, strict=True)]
            for result, motion in zip(results, motions, strict=True):
                result.velocity = motion.velocity
        for sample, result, box in zip(samples, results, boxes, strict=True):
            result.bboxes_3d = sample.box_type_3d(box, box_dim=box.shape[1])
        if paths is not None:
            for result, (trajectories, scores) in zip(results, paths, strict=True):
                result.trajectories, result.trajectory_scores = trajectories, scores
        return results

    def forecast(
        self,
        inputs: dict,
        samples: list[Det3DDataSample],
        boxes: list[Tensor],
        labels: list[Tensor],
    ) -> list[tuple[Tensor, Tensor]]:
        """Forecast boxes from elsewhere, such as true ones or a tracker's.

        Args:
            inputs: see :meth:`extract_feat`.
            samples: see :meth:`extract_feat`.
            boxes: for each sample (M, 7) ``(x, y, z_bottom, l, w, h, yaw)`` in the ego's frame.
            labels: for each sample (M,) int64.

        Returns:
            For each sample (M, K, F, 2) positions in the ego's frame, metres, and (M, K)
            probabilities.

        Raises:
            SettingError: there is no trajectory head.
        """
        if self.trajectory_head is None:
            raise SettingError('forecasts need a trajectory_head, which is None')
        bev = self.extract_feat(inputs, samples)[0]
        around = self._surroundings(inputs, samples, bev.device)
        return self._forecast(bev, boxes, labels, around)[1]

    def _forecast(
        self, bev: Tensor, boxes: list[Tensor], labels: list[Tensor], around: Surroundings
    ) -> tuple[list[Motion] | None, list[tuple[Tensor, Tensor]] | None]:
        motions, paths = None, None
        if self.velocity_head is not None:
            motions = self.velocity_head.predict(around.occupancy, boxes, labels)
        if self.trajectory_head is not None:
            paths = self.trajectory_head.predict(bev, boxes, labels, motions, around.vector_maps)
        return motions, paths

    def _surroundings(
        self, inputs: dict, samples: list[Det3DDataSample], device: torch.device
    ) -> Surroundings:
        vector_maps, occupancy = self._vector_maps(samples, device), None
        if self.velocity_head is not None:
            clouds = [cloud for sample in inputs['points'] for cloud in sample]
            numbers = [np.full(len(sample.agents), i) for i, sample in enumerate(samples)]
            places = torch.from_numpy(np.concatenate(numbers)).to(device)
            motions = self._into_ego(samples, device)
            occupancy = self.velocity_head.look(clouds, motions, places, len(samples))
        return Surroundings(vector_maps, occupancy)

    @staticmethod
    def _into_ego(samples: list[Det3DDataSample], device: torch.device) -> Tensor | None:
        """(sum N_i, T, 4, 4) from the clouds' frames to their ego's; None if they lie there."""
        if samples[0].agents.points_in_ego:
            return None
        motions = np.concatenate([sample.agents.ego_from_agent for sample in samples])
        return torch.from_numpy(motions).to(device)

    def _occupancy_bytes(self, clouds: list[Tensor], sample: Det3DDataSample) -> list[int]:
        """What each agent of a sample sends for the velocity head."""
        motions = self._into_ego([sample], clouds[0].device)
        return self.velocity_head.occupancy.message_bytes(clouds, motions, len(sample.agents))

    def _vector_maps(
        self, samples: list[Det3DDataSample], device: torch.device
    ) -> VectorMaps | None:
        """What the heads need of the map."""
        forecasts = self.trajectory_head is not None and self.trajectory_head.needs_map
        return stack_maps(samples, device) if forecasts or self.lane_bound else None

    def _forward(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> tuple:
        """The detection head's raw output."""
        return self.bbox_head(self.extract_feat(batch_inputs_dict, batch_data_samples))


class AgentBatch:
    """The agents of all samples of a batch, side by side, as tensors beside the maps."""

    def __init__(self, agents: list[Agents], maps: Tensor) -> None:
        def stack(arrays: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.concatenate(arrays)).to(maps.device)

        self.points_in_ego = agents[0].points_in_ego
        times = [np.tile(a.time_offsets, (len(a), 1)) for a in agents]
        self.time_offsets = stack(times).to(maps.dtype)
        self.valid = stack([a.valid for a in agents])
        self.num_agents = [len(a) for a in agents]
        self.is_ego = stack([np.arange(len(a)) == 0 for a in agents])
        self.kinds = stack([a.kinds for a in agents])
        self.delays = stack([a.delays for a in agents]).to(maps.dtype)
        self.current_from_frame = stack([a.current_from_frame for a in agents])
        self.ego_from_agent = stack([a.ego_from_agent for a in agents])
