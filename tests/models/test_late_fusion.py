"""Late fusion: boxes of several agents, each in its own frame, become the ego's."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.ops import box_iou_rotated
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.structures import InstanceData

from tests.models.movers import let_move, objects
from tests.models.roads import road
from turbotrain.models import LateFusionDetector
from turbotrain.models.detectors.agent_batch import AgentBatch
from turbotrain.structures import (
    Agents,
    boxes_from_world,
    invert_rigid,
    pose_to_matrix,
    transform_points,
)

ROOT = Path(__file__).parents[2]
POSES = pose_to_matrix([[0, 0, 1.9, 0, 10, 0], [18, 6, 1.9, 0, 170, 0], [8, -10, 4.1, 0, 80, 0]])
STEPS = 0.5 * np.arange(1, 7)


@pytest.fixture(scope='module')
def detector() -> LateFusionDetector:
    torch.manual_seed(0)
    cfg = Config.fromfile(ROOT / 'configs/benchmark/mini/late-fusion_mini_v2xpnp.py')
    cfg.model.velocity_head.num_frames = 2
    return MODELS.build(cfg.model).eval()


def agents_at(poses: np.ndarray = POSES, **changes) -> Agents:
    n = len(poses)
    record = Agents(
        ids=np.arange(n), kinds=np.arange(n) // 2, time_offsets=np.float32([-0.5, 0.0]),
        ego_from_agent=np.repeat((invert_rigid(poses[0]) @ poses)[:, None], 2, axis=1),
        valid=np.ones((n, 2), dtype=bool), speeds=np.zeros(n, np.float32),
        delays=np.zeros(n, np.float32),
    )  # fmt: skip
    return replace(record, **changes)


def sample_of(agents: Agents) -> Det3DDataSample:
    no_lanes = dict(vector_map=np.zeros((0, 10, 7), np.float32), vector_map_mask=np.zeros((0, 10)))
    return Det3DDataSample(
        metainfo=dict(agents=agents, box_type_3d=LiDARInstance3DBoxes, **no_lanes)
    )


def velocity(count: int) -> np.ndarray:
    return np.random.default_rng(2).uniform(-8, 8, (count, 2)) * np.array([1, 0.5])


def seen_from(pose: np.ndarray, which: slice = slice(None), ago: float = 0.0) -> InstanceData:
    """What an agent that makes no mistake would say of some objects, some seconds ago."""
    centres, angles, extents = (part[which] for part in objects())
    labels = torch.arange(8)[which] % 3
    speed = velocity(8)[which]
    then = centres - np.column_stack([ago * speed, np.zeros(len(speed))])
    path = np.repeat(then[:, None], 6, axis=1)
    path[..., :2] += speed[:, None] * STEPS[:, None]
    own = torch.from_numpy(boxes_from_world(then, angles, extents, pose)).float()
    futures = transform_points(invert_rigid(pose), path)[:, None, :, :2]
    return InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(own),
        scores_3d=torch.rand(len(own), generator=torch.Generator().manual_seed(4)),
        labels_3d=labels,
        trajectories=torch.from_numpy(futures).float(),
        trajectory_scores=torch.ones(len(own), 1),
        velocity=torch.from_numpy(speed @ invert_rigid(pose)[:2, :2].T).float(),
    )


def merge(
    detector: LateFusionDetector, samples: list[Det3DDataSample], found: list[InstanceData]
) -> list[InstanceData]:
    batch = AgentBatch([sample.agents for sample in samples], torch.zeros(1))
    return detector._merge(samples, found, batch)


def assert_same(found: InstanceData, expected: InstanceData, tolerance: float = 1e-3) -> None:
    """The same objects, in whatever order."""
    assert len(found) == len(expected)
    order = found.bboxes_3d.tensor[:, 0].argsort()
    wanted = expected.bboxes_3d.tensor[:, 0].argsort()
    for key in ('labels_3d', 'trajectories', 'trajectory_scores', 'velocity'):
        torch.testing.assert_close(found[key][order], expected[key][wanted], atol=tolerance, rtol=0)
    difference = found.bboxes_3d.tensor[order] - expected.bboxes_3d.tensor[wanted]
    difference[:, 6] = difference[:, 6].sin()
    assert not (difference.abs() > tolerance).any()


def test_what_several_see_is_one_object_with_its_path(detector):
    sample = sample_of(agents_at())
    found = [seen_from(pose, which) for pose, which in
             zip(POSES, (slice(0, 3), slice(2, 6), slice(4, 8)), strict=True)]  # fmt: skip
    (merged,) = merge(detector, [sample], found)
    assert_same(merged, seen_from(POSES[0]))


def test_the_highest_score_wins_and_brings_its_path(detector):
    sample = sample_of(agents_at(POSES[:2]))
    own, other = seen_from(POSES[0]), seen_from(POSES[1])
    own.scores_3d[:], other.scores_3d[:] = 0.5, torch.tensor([0.4, 0.6] * 4)
    other.trajectories += 1.0
    own.bboxes_3d.tensor[:, 2] += 0.25
    (merged,) = merge(detector, [sample], [own, other])
    by_place = merged[merged.bboxes_3d.tensor[:, 0].argsort()]
    order = own.bboxes_3d.tensor[:, 0].argsort()
    from_other = (torch.arange(8) % 2 == 1)[order]
    torch.testing.assert_close(by_place.scores_3d, torch.where(from_other, 0.6, 0.5))
    lifted = by_place.bboxes_3d.tensor[:, 2] - seen_from(POSES[0]).bboxes_3d.tensor[order, 2]
    torch.testing.assert_close(lifted, torch.where(from_other, 0.0, 0.25), atol=1e-3, rtol=0)
    off = (by_place.trajectories - own.trajectories[order]).norm(dim=-1).amax(dim=(1, 2))
    torch.testing.assert_close(off, from_other * 2**0.5, atol=1e-3, rtol=0)


def test_boxes_of_two_classes_in_one_place_both_stay(detector):
    sample = sample_of(agents_at(POSES[:2]))
    own, other = seen_from(POSES[0]), seen_from(POSES[1])
    other.labels_3d = (other.labels_3d + 1) % 3
    (merged,) = merge(detector, [sample], [own, other])
    assert len(merged) == 16


def test_the_order_of_the_others_and_who_says_nothing_change_nothing(detector):
    found = [seen_from(pose) for pose in POSES]
    for rank, one in enumerate(found):
        one.scores_3d += rank
    (merged,) = merge(detector, [sample_of(agents_at())], found)
    swapped = agents_at(POSES[[0, 2, 1]])
    (again,) = merge(detector, [sample_of(swapped)], [found[0], found[2], found[1]])
    assert_same(again, merged)
    silent = agents_at(valid=np.array([[True, True], [True, True], [True, False]]))
    (without,) = merge(detector, [sample_of(silent)], found)
    (pair,) = merge(detector, [sample_of(agents_at(POSES[:2]))], found[:2])
    assert_same(without, pair)
    assert without.scores_3d.max() < 2


def test_a_batch_is_its_samples(detector):
    groups = [POSES, POSES[:1], POSES[[1, 2]]]
    samples = [sample_of(agents_at(poses)) for poses in groups]
    found = [seen_from(pose) for poses in groups for pose in poses]
    found[3] = found[3][:0]
    together = merge(detector, samples, found)
    parts = (found[:3], found[3:4], found[4:])
    for sample, part, result in zip(samples, parts, together, strict=True):
        assert_same(result, merge(detector, [sample], part)[0])
    (nothing,) = merge(detector, samples[1:2], found[3:4])
    assert nothing.trajectories.shape == (0, 1, 6, 2)


@pytest.mark.parametrize('ago', [0.7, 0.04, -0.05])
def test_a_late_message_is_put_forward_by_its_own_forecast(detector, ago):
    """Or back, where a roadside unit sees a little later than the vehicle."""
    late = agents_at(POSES[:2], delays=np.float32([0.0, ago]))
    nothing, old = seen_from(POSES[0])[:0], seen_from(POSES[1], ago=ago)
    (merged,) = merge(detector, [sample_of(late)], [nothing, old])
    assert_same(merged, seen_from(POSES[0]))
    assert np.abs(0.7 * velocity(8)).max() > 2.0


def test_no_more_than_the_best_stay(detector):
    detector.max_num = 3
    (merged,) = merge(detector, [sample_of(agents_at(POSES[:1]))], [seen_from(POSES[0])])
    detector.max_num = 300
    best = seen_from(POSES[0]).scores_3d.sort(descending=True).values[:3]
    torch.testing.assert_close(merged.scores_3d, best)


def test_message_holds_boxes_and_paths(detector):
    silent = agents_at(valid=np.array([[True, True], [True, False], [True, True]]))
    samples = [sample_of(agents_at()), sample_of(silent)]
    found = [seen_from(POSES[0], slice(0, count)) for count in (8, 3, 5, 8, 4, 2)]
    detector._note_sent(samples, found)
    assert samples[0].message_bytes == [4 * 23 * 3, 4 * 23 * 5]
    assert samples[1].message_bytes == [4 * 23 * 2]


def with_truth(agents: Agents) -> Det3DDataSample:
    sample, truth = sample_of(agents), seen_from(POSES[0])
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=truth.bboxes_3d, labels_3d=truth.labels_3d,
        future_trajectories=truth.trajectories[:, 0], future_valid=torch.ones(8, 6).bool(),
        velocity=truth.velocity, velocity_valid=torch.ones(8).bool(),
        acceleration=0.1 * truth.velocity, acceleration_valid=torch.ones(8).bool(),
    )  # fmt: skip
    return sample


def test_every_agent_has_the_labels_in_its_own_frame(detector):
    sample = with_truth(agents_at())
    for example, pose in zip(detector._examples(sample), POSES, strict=True):
        truth, expected = example.gt_instances_3d, seen_from(pose)
        difference = truth.bboxes_3d.tensor - expected.bboxes_3d.tensor
        difference[:, 6] = difference[:, 6].sin()
        assert difference.abs().max() < 1e-3
        torch.testing.assert_close(
            truth.future_trajectories, expected.trajectories[:, 0], atol=1e-3, rtol=0
        )
        at = expected.bboxes_3d.tensor[:, :2].abs()
        inside = (at < torch.tensor([51.2, 25.6])).all(dim=1)
        assert torch.equal(truth.future_valid.any(dim=1), inside)
        torch.testing.assert_close(truth.velocity, expected.velocity, atol=1e-4, rtol=0)
        assert torch.equal(truth.velocity_valid, inside)
        torch.testing.assert_close(truth.acceleration, 0.1 * truth.velocity)
        assert torch.equal(truth.acceleration_valid, inside)


def cloud(seed: int, count: int = 400) -> torch.Tensor:
    points = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed))
    return points * torch.tensor([60, 40, 3, 0]) - torch.tensor([30, 20, 2, 0])


def test_agents_see_what_is_theirs_alone(detector):
    inputs = dict(points=[[cloud(i) for i in range(6)]])
    samples = [with_truth(agents_at())]
    (before,) = detector.extract_feat(inputs, samples)
    assert len(before) == 3
    changed = dict(points=[[*inputs['points'][0][:5], cloud(9)]])
    (after,) = detector.extract_feat(changed, samples)
    torch.testing.assert_close(after[:2], before[:2], atol=1e-5, rtol=1e-5)
    assert (after[2] - before[2]).abs().max() > 1e-3
    (ego,) = detector.extract_feat(
        dict(points=[inputs['points'][0][:2]]), [sample_of(agents_at(POSES[:1]))]
    )
    torch.testing.assert_close(ego, before[:1], atol=1e-5, rtol=1e-5)


def boxes_at(sample: Det3DDataSample) -> torch.Tensor:
    return sample.pred_instances_3d.bboxes_3d.bev[:, None, None, :2]


def test_from_points_to_the_ego_boxes(detector):
    inputs = dict(points=[[cloud(i) for i in range(6)], [cloud(6), cloud(7)]])
    samples = [with_truth(agents_at()), with_truth(agents_at(POSES[:1]))]
    detector.bbox_head.test_cfg.score_thr = 0.0
    with torch.no_grad():
        first, second = detector.predict(inputs, samples)
    detector.bbox_head.test_cfg.score_thr = 0.1
    assert len(first.message_bytes) == 2
    assert min(first.message_bytes) >= 92
    assert second.message_bytes == []
    for sample in (first, second):
        found = sample.pred_instances_3d
        assert len(found) > 10
        assert found.trajectories.shape == (len(found), 1, 6, 2)
        boxes = found.bboxes_3d.bev
        overlap = box_iou_rotated(boxes, boxes).fill_diagonal_(0)
        same = found.labels_3d[:, None] == found.labels_3d
        assert (overlap * same).max() <= detector.nms_thr + 1e-3
    # Untrained, it drives on at the velocity that was detected, or stands still.
    found = first.pred_instances_3d
    driven = torch.from_numpy(STEPS).float()[:, None] * found.velocity[:, None, None]
    way = found.trajectories - boxes_at(first)
    assert (
        ((way - driven).abs().amax(dim=(1, 2, 3)) < 1e-3)
        .logical_or(way.abs().amax(dim=(1, 2, 3)) < 1e-3)
        .all()
    )


@pytest.mark.parametrize('decoupled', [True, False])
def test_decoupled_tasks_share_no_gradient(detector, decoupled):
    torch.nn.init.normal_(detector.trajectory_head.residual.weight, std=0.1)
    detector.decoupled = decoupled
    losses = detector.loss(dict(points=[[cloud(i) for i in range(6)]]), [with_truth(agents_at())])
    detector.decoupled = True

    def reached(loss: torch.Tensor, module: torch.nn.Module) -> bool:
        gradients = torch.autograd.grad(
            loss, list(module.parameters()), allow_unused=True, retain_graph=True
        )
        return any(g is not None and bool(g.any()) for g in gradients)

    detection, prediction = sum(losses['loss_cls']), losses['loss_trajectory']
    assert reached(detection, detector.neck)
    assert reached(prediction, detector.temporal_neck)
    assert reached(detection, detector.temporal_neck) != decoupled
    assert reached(prediction, detector.neck) != decoupled


def test_every_agent_has_the_map_in_its_own_frame():
    torch.manual_seed(0)
    cfg = Config.fromfile(ROOT / 'configs/benchmark/mini/late-fusion_mini_v2xpnp.py').model
    cfg.trajectory_head.map_attention = dict()
    cfg.velocity_head.num_frames = 2
    model = MODELS.build(cfg)
    polylines, mask = road()
    samples = [with_truth(agents_at()), with_truth(agents_at(POSES[:1]))]
    samples[0].set_metainfo(dict(vector_map=polylines, vector_map_mask=mask))
    samples[1].set_metainfo(dict(vector_map=polylines[:0], vector_map_mask=mask[:0]))
    batch = AgentBatch([sample.agents for sample in samples], torch.zeros(1))
    maps = model._agent_vector_maps(samples, batch)
    for row, pose in enumerate(POSES):
        moved = transform_points(invert_rigid(pose) @ POSES[0], polylines)
        np.testing.assert_allclose(maps.polylines[row, ..., :2], moved[..., :2], atol=1e-4)
        assert torch.equal(maps.mask[row], torch.from_numpy(mask))
    assert not maps.mask[3].any()
    inputs = dict(points=[[cloud(i) for i in range(6)], [cloud(6), cloud(7)]])
    model.loss(inputs, samples)['loss_trajectory'].backward()
    assert model.trajectory_head.map_attention.query.weight.grad is not None
    model.eval()
    with torch.no_grad():
        assert len(model.predict(inputs, samples)) == 2


def test_options_of_map_fusion_and_projected_clouds_are_refused(detector):
    cfg = Config.fromfile(ROOT / 'configs/benchmark/mini/late-fusion_mini_v2xpnp.py').model
    with pytest.raises(ValueError, match='takes no map_neck'):
        MODELS.build({**cfg, 'map_neck': dict(type='VectorMapNeck')})
    sample = sample_of(agents_at(points_in_ego=True))
    with pytest.raises(ValueError, match='take ProjectPointsToEgo out'):
        detector.extract_feat(dict(points=[[cloud(i) for i in range(6)]]), [sample])


@pytest.mark.parametrize('ago', [0.05, 0.3, 0.5, -0.045])
def test_late_clouds_have_the_labels_of_their_time(detector, ago):
    """What an agent would have labelled then, to a millimetre, as long as nothing turns."""
    sample = with_truth(agents_at(delays=np.float32([0, ago, 0])))
    unknown = sample.gt_instances_3d.velocity_valid
    unknown[3], sample.gt_instances_3d.future_valid[5, 2] = False, False
    now, late, other = (example.gt_instances_3d for example in detector._examples(sample))
    for truth, pose, then in ((now, 0, 0.0), (late, 1, ago), (other, 2, 0.0)):
        expected = seen_from(POSES[pose], ago=then)
        places = expected.bboxes_3d.tensor[:, :3]
        places[3] = seen_from(POSES[pose]).bboxes_3d.tensor[3, :3]  # how it moves is not known
        torch.testing.assert_close(truth.bboxes_3d.tensor[:, :3], places, atol=1e-3, rtol=0)
        torch.testing.assert_close(
            truth.future_trajectories, expected.trajectories[:, 0], atol=2e-3, rtol=0
        )
    if late.future_valid[5].any():
        assert late.future_valid[5].tolist() == [True, True, False, False, True, True]
    assert now.future_valid[5].tolist() in ([True, True, False, True, True, True], [False] * 6)
    assert torch.isfinite(sum(detector.loss(
        dict(points=[[cloud(i) for i in range(6)]]), [sample])['loss_cls']))  # fmt: skip


def test_what_is_not_known_may_be_nan(detector):
    """It leaves alone what is known, be an agent late or not."""
    found = []
    for unknown in (1.0, np.nan):
        sample = with_truth(agents_at(delays=np.float32([0, 0.3, 0])))
        truth = sample.gt_instances_3d
        truth.velocity_valid[3], truth.future_valid[5, 2] = False, False
        truth.velocity[3], truth.future_trajectories[5, 2] = unknown, unknown
        found.append([example.gt_instances_3d for example in detector._examples(sample)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.bboxes_3d.tensor, other.bboxes_3d.tensor)
        for values, known in (
            ('future_trajectories', one.future_valid), ('velocity', one.velocity_valid),
        ):  # fmt: skip
            assert torch.equal(one[values][known], other[values][known])


def test_no_later_than_one_step_in_training(detector):
    late = with_truth(agents_at(delays=np.float32([0, 0.6, 0])))
    with pytest.raises(ValueError, match='up to 0.5 s late, got one of 0.60 s'):
        detector.loss(dict(points=[[cloud(i) for i in range(6)]]), [late])


def test_without_tracks_late_objects_stay_where_they_are(detector):
    """As in DAIR-V2X-C, whose two sides never see at the same time, and which has no futures."""
    sample = with_truth(agents_at(delays=np.float32([0, 0.04, -0.03])))
    truth = sample.gt_instances_3d
    del truth.future_trajectories, truth.future_valid
    truth.future_trajectories, truth.future_valid = torch.zeros(8, 0, 2), torch.zeros(8, 0).bool()
    truth.velocity_valid[:] = False
    for example, pose in zip(detector._examples(sample), POSES, strict=True):
        places = seen_from(pose).bboxes_3d.tensor[:, :3]
        found = example.gt_instances_3d.bboxes_3d.tensor[:, :3]
        torch.testing.assert_close(found, places, atol=1e-3, rtol=0)
        assert example.gt_instances_3d.future_valid.shape == (8, 0)


@pytest.mark.parametrize('decoupled', [True, False])
def test_boxes_from_elsewhere_are_forecast_as_the_egos_own(detector, decoupled):
    """On the map that the ego forecasts its own detections in, whoever else is there."""
    own = copy.deepcopy(detector)
    own.decoupled, own.duplicates, own.nms_thr = decoupled, None, 1.0
    own.bbox_head.test_cfg.score_thr, own.bbox_head.test_cfg.max_num = 0.0, 20
    let_move(own)
    clouds = [cloud(i) for i in range(6)]
    with torch.no_grad():
        alone = sample_of(agents_at(POSES[:1]))
        (alone,) = own.predict(dict(points=[clouds[:2]]), [alone])
        found = alone.pred_instances_3d
        inputs = dict(points=[clouds, clouds[:2]])
        samples = [sample_of(agents_at()), sample_of(agents_at(POSES[:1]))]
        boxes, labels = found.bboxes_3d.tensor[:, :7], found.labels_3d
        forecasts = own.forecast(inputs, samples, [boxes, boxes], [labels, labels])
    way = (found.trajectories - boxes[:, None, None, :2]).norm(dim=-1)
    assert len(found) == 20 and (way > 0.1).any()
    for paths, _ in forecasts:
        torch.testing.assert_close(paths, found.trajectories, atol=1e-4, rtol=0)
