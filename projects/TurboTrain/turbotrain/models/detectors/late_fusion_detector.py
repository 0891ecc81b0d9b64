"""Agents that share what they detect and forecast, not what they see."""

from typing import Any

import numpy as np
import torch
from mmcv.ops import nms_rotated
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import SettingError
from ...structures import invert_rigid
from ..box_motion import advance, move_boxes, move_paths, turn
from ..map_encoder import VectorMaps
from .agent_batch import AgentBatch
from .cooperative_detector import CooperativeDetector, Surroundings

__all__ = ['LateFusionDetector']

_BOX_VALUES = 9  # that are sent: seven of the box, score and class
_APART = 1000.0  # metres, further than any two boxes of a sample


@MODELS.register_module()
class LateFusionDetector(CooperativeDetector):
    """Every agent detects and forecasts on its own map; the ego merges boxes by rotated NMS.

    All agents of a batch go through network and heads together. Boxes and their paths are then
    brought into the ego's frame; a message that comes late is put forward by its own forecast. Of
    boxes of one class that overlap, the one with the highest score stays, with its path. Agents
    without a current cloud say nothing. With one agent this is No Fusion.

    Agents see in their own frames: samples must not go through ``ProjectPointsToEgo``. In training
    every agent of a sample is an example by itself, vehicle or roadside unit, with the sample's
    objects in its own frame, and at the time of its cloud, as the truth; these have to reach beyond
    the ego's range, see ``label_range`` of ``CooperativeRangeFilter``.

    Source: No Fusion and Late Fusion of V2XPnP's benchmark are "decoupled" pipelines whose parts
    are not public. What decoupled means here is our choice: boxes are detected in the current
    cloud alone, and paths are forecast from the frames fused over time, without prediction's
    gradients in the layers that detection uses. So are the merging of paths, and putting late
    messages forward.

    Args:
        decoupled: detect and forecast apart; otherwise both are done end to end on one map.
        nms_thr: IoU seen from above from which the lower score goes; 0.15 as in V2X-Real.
        max_num: boxes that stay in a sample, the best ones.
        step_interval: seconds between positions of a path.
        kwargs: see :class:`CooperativeDetector`. There is no ``fusion_neck``, ``compression``
            or ``map_neck``. When decoupled, ``bev_neck`` serves detection alone.

    Raises:
        SettingError: one of these three is given.
    """

    def __init__(
        self,
        *,
        decoupled: bool = True,
        nms_thr: float = 0.15,
        max_num: int = 300,
        step_interval: float = 0.5,
        **kwargs: Any,
    ) -> None:
        for name in ('fusion_neck', 'compression', 'map_neck'):
            if kwargs.get(name):
                raise SettingError(f'LateFusionDetector shares boxes and takes no {name}')
        super().__init__(**kwargs | dict(fusion_neck=None))
        limits = torch.tensor(self.point_cloud_range, dtype=torch.float32)
        self.register_buffer('limits', limits, persistent=False)
        self.decoupled = decoupled
        self.nms_thr, self.max_num, self.step_interval = nms_thr, max_num, step_interval

    def extract_feat(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]
    ) -> list[Tensor]:
        """The map (sum N_i, C, H, W) of each agent in which it detects, in a list."""
        return self._agent_maps(batch_inputs_dict, batch_data_samples)[0]

    def _agent_maps(
        self, inputs: dict, samples: list[Det3DDataSample]
    ) -> tuple[list[Tensor], Tensor, AgentBatch]:
        """Maps of all agents, to detect and to forecast in."""
        if any(sample.agents.points_in_ego and len(sample.agents) > 1 for sample in samples):
            raise SettingError(
                'LateFusionDetector wants clouds in the frames of their own agents; take '
                'ProjectPointsToEgo out of the pipeline'
            )
        maps, batch = self.encode(inputs, samples)
        if self.decoupled:
            detection, forecasting = maps[:, -1], self.fuse_frames(maps.detach(), batch)
        else:
            detection = self.fuse_frames(maps, batch)
        bev = [detection] if self.bev_neck is None else self.bev_neck([detection])
        return bev, forecasting if self.decoupled else bev[0], batch

    def loss(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """Losses of the heads on all agents' own maps.

        Raises:
            SettingError: a cloud is later than one step of the forecasts.
        """
        bev, forecasting, batch = self._agent_maps(batch_inputs_dict, batch_data_samples)
        heard = np.flatnonzero(_heard(batch_data_samples))
        rows = torch.from_numpy(heard).to(forecasting.device)
        examples = [example for sample in batch_data_samples for example in self._examples(sample)]
        around = self._agent_surroundings(batch_inputs_dict, batch_data_samples, batch)
        return self._head_losses(
            [level[rows] for level in bev],
            forecasting[rows],
            [examples[row] for row in heard],
            around.of(rows),
            **kwargs,
        )

    def _examples(self, sample: Det3DDataSample) -> list[Det3DDataSample]:
        """The sample's objects as each of its agents has them in its own frame, at its own time.

        Where a cloud is late, an object is where it was then by its velocity, or where it is now if
        that is unknown, and its future is read between the known positions. Objects beyond an
        agent's range stay where they are: no anchor is near. Their futures count as unknown, since
        there is nothing to read them off.
        """
        truth = sample.gt_instances_3d
        now = truth.bboxes_3d.tensor.to(truth.labels_3d.device)
        latest = np.abs(sample.agents.delays).max()
        delays = torch.from_numpy(sample.agents.delays).to(now)[:, None]
        if latest > self.step_interval:
            raise SettingError(
                f'LateFusionDetector learns from clouds that are up to {self.step_interval:g} s '
                f'late, got one of {latest:.2f} s: let CooperativeDelay in the training pipeline '
                'delay by less; in testing it may be more'
            )
        boxes = now.repeat(len(delays), 1, 1)
        velocity = truth.velocity.where(truth.velocity_valid[:, None], 0)
        boxes[..., :2] -= delays[..., None] * velocity
        whole = torch.cat([now[:, None, :2], truth.future_trajectories], dim=1)
        share = (delays / self.step_interval)[..., None, None]
        # Who is not late needs no position before, which may be unknown, be it NaN.
        paths = whole[:, 1:].where(share == 0, whole[:, 1:].lerp(whole[:, :-1], share))
        known = torch.cat([torch.ones_like(truth.future_valid[:, :1]), truth.future_valid], dim=1)
        known = known[:, 1:] & (known[:, :-1] | (delays == 0)[..., None])
        agent_from_ego = torch.from_numpy(invert_rigid(sample.agents.ego_from_features))
        agent_from_ego = agent_from_ego.to(boxes)[:, None]
        moved = move_boxes(agent_from_ego, boxes)
        heights = (now[:, 2] + now[:, 5] / 2)[:, None]
        futures = move_paths(agent_from_ego[:, None], paths, heights)
        velocities = turn(agent_from_ego, truth.velocity)
        accelerations = turn(agent_from_ego, truth.acceleration)
        low, high = self.limits[:2], self.limits[3:5]
        inside = ((moved[..., :2] > low) & (moved[..., :2] < high)).all(dim=-1)
        examples = []
        for own, own_futures, own_known, velocity, acceleration, near in zip(
            moved, futures, known, velocities, accelerations, inside, strict=True
        ):
            example = Det3DDataSample(metainfo=sample.metainfo)
            example.gt_instances_3d = InstanceData(
                bboxes_3d=sample.box_type_3d(own),
                labels_3d=truth.labels_3d,
                future_trajectories=own_futures,
                future_valid=own_known & near[:, None],
                velocity=velocity,
                velocity_valid=truth.velocity_valid & near,
                acceleration=acceleration,
                acceleration_valid=truth.acceleration_valid & near,
            )
            examples.append(example)
        return examples

    def _agent_surroundings(
        self, inputs: dict, samples: list[Det3DDataSample], batch: AgentBatch
    ) -> Surroundings:
        """What the heads look at of each agent's own: the map, and its own clouds."""
        occupancy = None
        if self.velocity_head is not None:
            clouds = [cloud for sample in inputs['points'] for cloud in sample]
            motions = None if batch.points_in_ego else batch.current_from_frame
            agents = len(batch.kinds)
            places = torch.arange(agents, device=self.limits.device)
            occupancy = self.velocity_head.look(clouds, motions, places, agents)
        return Surroundings(self._agent_vector_maps(samples, batch), occupancy)

    def _agent_vector_maps(
        self, samples: list[Det3DDataSample], batch: AgentBatch
    ) -> VectorMaps | None:
        """The samples' maps in the frames of their agents."""
        vector_maps = self._vector_maps(samples, self.limits.device)
        if vector_maps is None:
            return None
        of_sample = batch.is_ego.cumsum(0) - 1
        agent_from_ego = np.concatenate([invert_rigid(s.agents.ego_from_features) for s in samples])
        own = VectorMaps(*(part[of_sample] for part in vector_maps))
        return own.moved(torch.from_numpy(agent_from_ego).to(own.polylines))

    def _to_forecast(
        self, inputs: dict, samples: list[Det3DDataSample]
    ) -> tuple[Tensor, Surroundings]:
        _, forecasting, batch = self._agent_maps(inputs, samples)
        around = self._agent_surroundings(inputs, samples, batch)
        return forecasting[batch.is_ego], around.of(batch.is_ego)

    def predict(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> list[Det3DDataSample]:
        """Detect, forecast and merge; notes ``message_bytes``, the boxes and paths that are sent.

        Returns:
            See :meth:`CooperativeDetector.predict`.
        """
        bev, forecasting, batch = self._agent_maps(batch_inputs_dict, batch_data_samples)
        around = self._agent_surroundings(batch_inputs_dict, batch_data_samples, batch)
        metas = [sample for sample in batch_data_samples for _ in range(len(sample.agents))]
        found = self._detect(bev, forecasting, metas, around, **kwargs)
        self._note_sent(batch_data_samples, found)
        merged = self._merge(batch_data_samples, found, batch)
        return self._with_results(batch_data_samples, merged)

    def _note_sent(self, samples: list[Det3DDataSample], found: list[InstanceData]) -> None:
        values = _BOX_VALUES + (2 if self.velocity_head is not None else 0)
        if self.trajectory_head is not None:
            modes, steps = found[0].trajectories.shape[1:3]
            values += 2 * modes * steps + (modes if modes > 1 else 0)
        heard, first = _heard(samples), 0
        for sample in samples:
            others = range(first + 1, first + len(sample.agents))
            first += len(sample.agents)
            sent = [4 * values * len(found[agent]) for agent in others if heard[agent]]
            sample.set_metainfo(dict(message_bytes=sent))

    def _merge(
        self, samples: list[Det3DDataSample], found: list[InstanceData], batch: AgentBatch
    ) -> list[InstanceData]:
        """What all agents found, (sum N_i) results, as one result for each of the B samples."""
        heard = torch.from_numpy(_heard(samples)).to(self.limits.device)
        ego_from_agent = np.concatenate([sample.agents.ego_from_features for sample in samples])
        ego_from_agent = torch.from_numpy(ego_from_agent).to(self.limits.device)
        counts = torch.tensor([len(one) for one in found], device=heard.device)
        total = sum(len(one) for one in found)
        agent = torch.repeat_interleave(counts, output_size=total)
        sample_of = (batch.is_ego.cumsum(0) - 1)[agent]
        matrix = ego_from_agent[agent]

        boxes = torch.cat([one.bboxes_3d.tensor[:, :7].to(heard.device) for one in found]).float()
        everything = InstanceData(
            scores_3d=torch.cat([one.scores_3d for one in found]),
            labels_3d=torch.cat([one.labels_3d for one in found]),
        )
        moved = move_boxes(matrix, boxes)
        if self.velocity_head is not None:
            velocity = torch.cat([one.velocity for one in found])
            everything.velocity = turn(matrix, velocity)
        if self.trajectory_head is not None:
            scores = torch.cat([one.trajectory_scores for one in found])
            paths = torch.cat([one.trajectories for one in found])
            heights = (boxes[:, 2] + boxes[:, 5] / 2)[:, None, None]
            paths = move_paths(matrix[:, None, None], paths, heights)
            steps = batch.delays[agent] / self.step_interval
            moved[:, :2], paths = advance(moved[:, :2], paths, scores, steps)
            everything.trajectories, everything.trajectory_scores = paths, scores
        everything.bboxes_3d = samples[0].box_type_3d(moved)

        # Samples and classes far apart from each other: one NMS for all.
        groups = torch.stack([sample_of, everything.labels_3d], dim=1)
        apart = everything.bboxes_3d.bev.clone()
        apart[:, :2] += _APART * groups
        keep = heard[agent].nonzero()[:, 0]
        if len(keep):
            scores = everything.scores_3d[keep].float()
            keep = keep[nms_rotated(apart[keep], scores, self.nms_thr)[1]]
        of_kept = sample_of[keep]
        return [
            everything[keep[of_kept == number][: self.max_num]] for number in range(len(samples))
        ]


def _heard(samples: list[Det3DDataSample]) -> np.ndarray:
    """(sum N_i,) bool, which agents say anything: egos, and whoever has a current cloud."""
    return np.concatenate(
        [sample.agents.valid[:, -1] | (np.arange(len(sample.agents)) == 0) for sample in samples]
    )
