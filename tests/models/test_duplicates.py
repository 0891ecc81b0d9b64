from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.structures import InstanceData

from turbotrain.models import VectorMaps
from turbotrain.models.detectors.cooperative_detector import Surroundings
from turbotrain.models.duplicates import demote_duplicates
from turbotrain.models.heads.velocity_head import Motion

CONFIGS = Path(__file__).parents[2] / 'configs'


def found(places: list[float], scores: list[float]) -> InstanceData:
    """Boxes of 4 x 2 m along x, each with a number that goes along."""
    boxes = torch.tensor([[x, 0.0, -1.0, 4.0, 2.0, 1.5, 0.0] for x in places]).view(-1, 7)
    return InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(boxes),
        scores_3d=torch.tensor(scores),
        labels_3d=torch.arange(len(places)) % 3,
        trajectories=torch.arange(float(len(places))),
    )


def test_what_overlaps_a_better_one_of_any_class_is_believed_less():
    """The second box overlaps the first by a ninth, the third one neither."""
    result = demote_duplicates(found([0.0, 3.2, 10.0], [0.9, 0.8, 0.5]), iou_thr=0.02, factor=0.5)
    torch.testing.assert_close(result.scores_3d, torch.tensor([0.9, 0.5, 0.4]))
    assert result.trajectories.tolist() == [0, 2, 1]
    assert result.bboxes_3d.tensor[:, 0].tolist() == [0.0, 10.0, torch.tensor(3.2).item()]
    apart = demote_duplicates(found([0.0, 3.2, 10.0], [0.9, 0.8, 0.5]), iou_thr=0.2, factor=0.5)
    torch.testing.assert_close(apart.scores_3d, torch.tensor([0.9, 0.8, 0.5]))


def test_a_demoted_one_demotes_nothing():
    """The third overlaps the second alone, which is itself a duplicate of the first."""
    result = demote_duplicates(found([0.0, 3.0, 6.0], [0.9, 0.8, 0.7]), iou_thr=0.02, factor=0.1)
    torch.testing.assert_close(result.scores_3d, torch.tensor([0.9, 0.7, 0.08]))


def test_order_does_not_matter_and_nothing_stays_nothing():
    given = found([0.0, 3.0, 20.0, 0.5, 21.0], [0.6, 0.8, 0.5, 0.7, 0.4])
    one = demote_duplicates(given[torch.arange(5)], 0.02, 0.5)
    two = demote_duplicates(given[torch.tensor([3, 0, 4, 2, 1])], 0.02, 0.5)
    torch.testing.assert_close(one.scores_3d, two.scores_3d)
    torch.testing.assert_close(one.bboxes_3d.tensor, two.bboxes_3d.tensor)
    assert len(demote_duplicates(found([], []), 0.02, 0.5)) == 0


def test_a_detector_turns_what_keeps_to_lanes_and_demotes_duplicates():
    """A vehicle and a pedestrian against a lane along x, a second vehicle over the first one; none
    moves. What moves heads where it goes, whatever the lane says."""
    cfg = Config.fromfile(f'{CONFIGS}/turbotrain/mini/finetune_mini_v2xpnp.py').model
    detector = MODELS.build(cfg).eval()
    given = found([0.0, 20.0, 1.0, -20.0], [0.9, 0.8, 0.7, 0.6])
    given.labels_3d = torch.tensor([0, 1, 0, 0])
    given.bboxes_3d.tensor[:, 6] = torch.pi
    velocity = torch.tensor([[0.0, 0], [0, 0], [0, 0], [0, 4]])
    motions = [Motion(velocity, *[torch.zeros(4, 2)] * (len(Motion._fields) - 1))]
    detector.bbox_head.predict = lambda *_, **__: [given]
    detector._forecast = lambda *_: (motions, None)
    polylines = torch.zeros(1, 2, 10, 7)
    polylines[..., 0] = torch.linspace(-40, 40, 20).view(2, 10)
    polylines[..., 3], polylines[..., 6] = 1.0, 1.0
    lanes = VectorMaps(polylines, torch.ones(1, 2, 10, dtype=torch.bool))
    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
    around = Surroundings(lanes, None)
    results = detector._detect([torch.zeros(1)], torch.zeros(1), [sample], around)
    (told,) = detector._with_results([sample], results)
    told = told.pred_instances_3d
    boxes = {round(float(x)): (float(yaw.cos()), float(yaw.sin()), float(score)) for x, yaw, score
             in zip(told.bboxes_3d.tensor[:, 0], told.bboxes_3d.yaw, told.scores_3d,
                    strict=True)}  # fmt: skip
    assert boxes[0] == pytest.approx((1, 0, 0.9), abs=1e-4)
    assert boxes[20] == pytest.approx((-1, 0, 0.8), abs=1e-4)
    assert boxes[1] == pytest.approx((1, 0, 0.35), abs=1e-4)
    assert boxes[-20] == pytest.approx((0, 1, 0.6), abs=1e-4)
