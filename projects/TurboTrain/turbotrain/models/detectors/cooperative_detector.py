"""The multi-agent, multi-frame, multi-task network."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...errors import SettingError
from ...structures import driving_lanes
from ..duplicates import demote_duplicates
from ..headings import head_along, head_with_traffic
from ..heads import Motion, VelocityHead
from ..map_encoder import VectorMaps, stack_maps
from ..occupancy import OccupancyMaps
from ..parts import build_part
from ..ranges import refuse_other_ranges
from .cooperative_trunk import CooperativeTrunk

__all__ = ['CooperativeDetector', 'Surroundings']


class Surroundings(NamedTuple):
    """What heads look at beside the fused map.

    Attributes:
        vector_maps: of the samples; None where no head looks at them.
        occupancy: of the samples; None where no head looks at it.
    """

    vector_maps: VectorMaps | None
    occupancy: OccupancyMaps | None

    def of(self, rows: Tensor) -> 'Surroundings':
        """Those of some samples, by their numbers or a mask."""
        maps = self.vector_maps and VectorMaps(*(part[rows] for part in self.vector_maps))
        return Surroundings(maps, None if self.occupancy is None else self.occupancy[rows])


@MODELS.register_module()
class CooperativeDetector(CooperativeTrunk):
    """Backbone, temporal fusion, multi-agent fusion, detection head and prediction heads.

    The network of V2XPnP and TurboTrain: on the fused map of a :class:`CooperativeTrunk` boxes are
    detected, and a path is forecast for each box.

    Args:
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]`` (m) of the maps.
        channels: C of the maps that agents share and that heads look at.
        bbox_head: any detection head of mmdet3d that takes a list of BEV maps.
        velocity_head: tells how boxes move, and turns them to head where they go; None does not.
        trajectory_head: forecasts boxes; None detects only.
        duplicates: settings of :func:`~..duplicates.demote_duplicates`, which lowers the scores of
            detections that overlap a better one; None leaves them as the detection head gives them.
        lane_bound: labels of the classes whose boxes head as the lane of the vector map does that
            they are on, if they do not move; see :func:`~..headings.head_with_traffic`.
        frozen: names of modules, e.g. ``'backbone'``, that training leaves as they are, their batch
            norms' statistics included.
        train_cfg: the detection head's.
        test_cfg: the detection head's.
        trunk: what else :class:`CooperativeTrunk` takes.

    Heads whose configs leave out ``point_cloud_range`` or ``in_channels`` get the detector's.

    Raises:
        SettingError: parts are told different ranges of the map, see :func:`refuse_other_ranges`; a
            frozen module does not exist; or the detection head has a ``train_cfg`` or ``test_cfg``
            of its own.
    """

    def __init__(
        self,
        *,
        point_cloud_range: Sequence[float],
        channels: int,
        bbox_head: dict,
        velocity_head: dict | None = None,
        trajectory_head: dict | None = None,
        duplicates: dict | None = None,
        lane_bound: Sequence[int] = (),
        frozen: Sequence[str] = (),
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        **trunk: Any,
    ) -> None:
        with_range = ('data_preprocessor', 'encoder', 'temporal_neck', 'fusion_neck', 'map_neck')
        refuse_other_ranges(
            'point_cloud_range',
            point_cloud_range,
            dict(
                {name: trunk.get(name) for name in with_range},
                bbox_head=bbox_head,
                velocity_head=velocity_head,
                trajectory_head=trajectory_head,
                train_cfg=train_cfg,
                test_cfg=test_cfg,
            ),
        )
        super().__init__(point_cloud_range=point_cloud_range, channels=channels, **trunk)
        for name in ('train_cfg', 'test_cfg'):
            if bbox_head.get(name) is not None:
                raise SettingError(
                    f'bbox_head.{name} would go unused: give it as {name} of the model'
                )
        shared = dict(point_cloud_range=self.point_cloud_range, in_channels=channels)
        bbox_head = {**bbox_head, 'train_cfg': train_cfg, 'test_cfg': test_cfg}
        self.bbox_head = build_part(bbox_head, **shared)
        self.velocity_head = build_part(velocity_head, **shared)
        self.trajectory_head = build_part(trajectory_head, **shared)
        self.duplicates, self.lane_bound = duplicates, tuple(lane_bound)
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
        bev, around = self._to_forecast(inputs, samples)
        return self._forecast(bev, boxes, labels, around)[1]

    def _to_forecast(
        self, inputs: dict, samples: list[Det3DDataSample]
    ) -> tuple[Tensor, Surroundings]:
        """The egos' maps that forecasts are read off, and what else they look at."""
        bev = self.extract_feat(inputs, samples)[0]
        return bev, self._surroundings(inputs, samples, bev.device)

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

    def _other_bytes(self, clouds: list[Tensor], sample: Det3DDataSample) -> list[int]:
        """What the velocity head gets: the cells that each agent finds occupied."""
        # Pretrainers have stand-ins for heads, which ask for nothing.
        if not isinstance(self.velocity_head, VelocityHead):
            return super()._other_bytes(clouds, sample)
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
