"""What a learned forecast has to beat, and how headings are judged, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.scenes import random_forecast
from turbotrain.evaluation import (
    DetectionFrame,
    ForecastFrame,
    constant_velocity,
    evaluate_forecasts,
    heading_errors,
    standing_still,
    true_velocity,
)

NO_BOX = np.zeros((0, 5), np.float32)


def scene() -> ForecastFrame:
    """Two objects, at 2 m/s ahead and at 1 m/s to the left; the third detection is a false one."""
    times = 0.5 * np.arange(1, 7)[:, None]
    velocity = np.array([[2.0, 0.0], [0.0, 1.0]])
    centers = np.array([[0.0, 0.0], [10.0, 0.0]])
    return ForecastFrame(
        centers=np.array([[0.0, 0.0], [10.0, 0.0], [30.0, 0.0]]),
        trajectories=np.zeros((3, 2, 6, 2)),
        gt_centers=centers,
        gt_trajectories=centers[:, None] + times * velocity[:, None],
        gt_valid=np.ones((2, 6), bool),
        mode_scores=np.full((3, 2), 0.5),
        velocities=np.array([[2.0, 0.0], [0.0, 0.5], [9.0, 9.0]]),
        gt_velocities=velocity,
    )


def test_standing_still_is_off_by_the_way_that_is_gone():
    found = evaluate_forecasts([standing_still(scene())])
    assert found.fde == pytest.approx((6.0 + 3.0) / 2)
    assert (found.hits, found.false_positives) == (0, 1)


def test_constant_velocity_as_detected():
    """The second object is thought to be half as fast as it is: 1.5 m too short after 3 s."""
    found = evaluate_forecasts([constant_velocity(scene(), 0.5)])
    assert found.fde == pytest.approx((0.0 + 1.5) / 2)
    assert found.ade == pytest.approx(0.5 * 0.5 * 0.5 * 3.5)
    assert found.hits == 2


def test_the_true_velocity_is_the_matched_objects_own():
    frame = scene()
    assert evaluate_forecasts([true_velocity(frame, 0.5, 2.0)]).ade == 0
    moved = replace(frame, centers=frame.centers[::-1] + [0.3, 0.0])
    assert evaluate_forecasts([true_velocity(moved, 0.5, 2.0)]).ade == pytest.approx(0.3)
    unknown = replace(frame, gt_velocities=np.array([[2.0, 0.0], [np.nan, np.nan]]))
    assert evaluate_forecasts([true_velocity(unknown, 0.5, 2.0)]).fde == pytest.approx(1.5)


def test_detections_that_are_left_out_take_their_velocities_along():
    frame = constant_velocity(scene().only(np.array([1, 0])), 0.5)
    np.testing.assert_allclose(frame.trajectories[:, 0, -1], [[10.0, 1.5], [6.0, 0.0]])


def test_velocity_zero_is_standing_still():
    frame = random_forecast(np.random.default_rng(0))
    frame = replace(frame, velocities=np.zeros_like(frame.centers))
    np.testing.assert_array_equal(
        constant_velocity(frame, 0.5).trajectories, standing_still(frame).trajectories
    )


def test_headings():
    """Right, 0.1 rad off, reversed by a turn of pi + 0.2, a wrong class, a low score, no object."""
    gt = np.array([[10.0 * i, 0, 4, 2, 3.0] for i in range(5)], np.float32)
    boxes = np.array([[10.0 * i, 0, 4, 2, 3.0] for i in range(6)], np.float32)
    boxes[:3, 4] += [2 * np.pi, 0.1, np.pi + 0.2]
    frame = DetectionFrame(
        boxes,
        np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.9], np.float32),
        np.array([0, 0, 0, 1, 0, 0]),
        gt,
        np.zeros(5, np.int64),
    )
    axis, turned = heading_errors([frame], 0, radius=2.0, score_threshold=0.5)
    np.testing.assert_allclose(np.sort(axis), [0.0, 0.1, 0.2], atol=1e-5)
    assert turned.sum() == 1
    empty = DetectionFrame(NO_BOX, np.zeros(0), np.zeros(0, int), NO_BOX, np.zeros(0, int))
    assert [len(part) for part in heading_errors([empty], 0, 2.0)] == [0, 0]


def test_missing_velocities_are_named():
    with pytest.raises(ValueError, match=r'ForecastFrame\.velocities'):
        constant_velocity(replace(scene(), velocities=None), 0.5)
    with pytest.raises(ValueError, match=r'ForecastFrame\.gt_velocities'):
        true_velocity(replace(scene(), gt_velocities=None), 0.5, 2.0)
