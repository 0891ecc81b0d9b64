"""Forecasting metrics against ViP3D's numbers, an independent reference, and their properties."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from tests.evaluation.scenes import random_forecast
from tests.golden import load_golden
from turbotrain.evaluation import (
    PROTOCOLS,
    ForecastFrame,
    ForecastProtocol,
    brier_final_errors,
    displacement_errors,
    evaluate_forecasts,
    final_times,
    likeliest_mode,
    match_centers,
    match_greedily,
    standing_still,
)


def golden_frames():
    """The frames of ViP3D's fixture, futures found by the objects' ids in later frames."""
    golden = load_golden()['eval']['vip3d']
    num_steps = golden['horizon_steps']
    infos = sorted(golden['infos'].values(), key=lambda info: info['timestamp'])
    tables = [
        {i: box[:2] for i, box in zip(f['instance_inds'], f['gt_bboxes_3d'], strict=True)}
        for f in infos
    ]
    frames = []
    for now, info in enumerate(infos):
        predicted = golden['results'].get(info['sample_token'])
        if predicted is None:
            continue
        ids = info['instance_inds']
        futures = np.zeros((len(ids), num_steps, 2))
        valid = np.zeros((len(ids), num_steps), dtype=bool)
        for row, i in enumerate(ids):
            for step, table in enumerate(tables[now + 1 : now + 1 + num_steps]):
                if i in table:
                    futures[row, step], valid[row, step] = table[i], True
        frames.append(
            ForecastFrame(
                centers=np.array([p['translation'] for p in predicted]),
                trajectories=np.array([p['pred_future_trajs'] for p in predicted]),
                gt_centers=np.array([tables[now][i] for i in ids]),
                gt_trajectories=futures,
                gt_valid=valid,
            )
        )
    return frames


def test_golden_vip3d():
    golden = load_golden()['eval']['vip3d']
    frames = golden_frames()
    result = evaluate_forecasts(frames)
    assert len(frames) == golden['frames_scored']
    assert result.ade == pytest.approx(golden['metrics']['minADE'])
    assert result.fde == pytest.approx(golden['metrics']['minFDE'])
    assert result.miss_rate == pytest.approx(golden['metrics']['MR'])
    assert result.epa == pytest.approx(golden['metrics']['EPA'])
    counts = golden['counts']
    assert (result.matched, result.false_positives) == (counts['matched'], counts['unmatched'])
    assert (result.hits, result.ground_truth) == (counts['hit'], counts['gt_valid_end'])


def test_matching_is_the_best_assignment():
    """Against every assignment tried out, with a greedy trap: near-by objects in a row."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        gt = rng.uniform(0, 4, (4, 2))
        centers = gt + rng.normal(0, 0.8, (4, 2))
        distance = np.linalg.norm(centers[:, None] - gt, axis=-1)
        cost = np.where(distance > 2.0, 1e4, distance)
        best = min(cost[range(4), list(p)].sum() for p in permutations(range(4)))
        row, gt_row = match_centers(centers, gt, 2.0)
        assert distance[row, gt_row].sum() + 1e4 * (4 - len(row)) == pytest.approx(best)
        assert (distance[row, gt_row] <= 2.0).all()


def test_best_mode_for_average_and_final_apart():
    truth = np.zeros((1, 2, 2))
    modes = np.array([[[[0.0, 0.0], [4.0, 0.0]], [[9.0, 0.0], [1.0, 0.0]]]])
    average, final = displacement_errors(modes, truth, np.ones((1, 2), bool), np.array([1]))
    assert (average[0], final[0]) == (2.0, 1.0)


def test_brier_by_hand():
    """Mode 1 ends 1 m off and was thought 30 % likely; an unknown end has no error."""
    truth = np.zeros((2, 2, 2))
    truth[1, 1] = np.nan
    modes = np.array([[[[0.0, 0.0], [4.0, 0.0]], [[9.0, 0.0], [0.0, 1.0]]]]).repeat(2, axis=0)
    scores = np.array([[0.7, 0.3], [0.7, 0.3]])
    brier = brier_final_errors(modes, scores, truth, np.array([1, -1]))
    np.testing.assert_allclose(brier, [1.0 + 0.7**2, np.nan])
    # Being sure of the best mode costs nothing; of another one, a metre.
    sure = brier_final_errors(modes[:1], np.array([[0.0, 1.0]]), truth[:1], np.array([1]))
    wrong = brier_final_errors(modes[:1], np.array([[1.0, 0.0]]), truth[:1], np.array([1]))
    assert (sure[0], wrong[0]) == (1.0, 2.0)


def test_brier_lies_between_the_final_distance_and_a_metre_more():
    rng = np.random.default_rng(8)
    frames = [random_forecast(rng) for _ in range(5)]
    result = evaluate_forecasts(frames)
    assert result.fde < result.brier_fde < result.fde + 1.0
    swapped = [
        replace(f, trajectories=f.trajectories[:, ::-1], mode_scores=f.mode_scores[:, ::-1])
        for f in frames
    ]
    assert evaluate_forecasts(swapped).brier_fde == pytest.approx(result.brier_fde)
    assert np.isnan(evaluate_forecasts([replace(f, mode_scores=None) for f in frames]).brier_fde)


def test_likeliest_mode_is_one_mode():
    frame = random_forecast(np.random.default_rng(9))
    single = likeliest_mode(frame)
    assert single.trajectories.shape[1] == 1
    for row, best in enumerate(frame.mode_scores.argmax(axis=1)):
        np.testing.assert_array_equal(single.trajectories[row, 0], frame.trajectories[row, best])
    assert evaluate_forecasts([single]).ade > evaluate_forecasts([frame]).ade


def test_invalid_steps_are_ignored():
    truth = np.zeros((3, 2, 2))
    truth[~np.array([[True, False], [False, True], [False, False]])] = np.nan
    valid = ~np.isnan(truth[..., 0])
    paths = np.full((3, 1, 2, 2), 3.0)
    average, final = displacement_errors(paths, truth, valid, final_times(valid, 'final'))
    np.testing.assert_allclose(average, [18**0.5, 18**0.5, np.nan])
    np.testing.assert_allclose(final, [np.nan, 18**0.5, np.nan])


def test_perfect_forecasts():
    frame = random_forecast(np.random.default_rng(1))
    perfect = replace(frame, centers=frame.gt_centers, trajectories=frame.gt_trajectories[:, None])
    result = evaluate_forecasts([perfect])
    assert (result.ade, result.fde, result.miss_rate, result.epa) == (0, 0, 0, 1)


def test_order_of_frames_and_of_objects_changes_nothing():
    rng = np.random.default_rng(2)
    frames = [random_forecast(rng) for _ in range(5)]
    order = rng.permutation(len(frames[0].centers))
    shuffled = replace(
        frames[0], centers=frames[0].centers[order], trajectories=frames[0].trajectories[order]
    )
    a, b = evaluate_forecasts(frames), evaluate_forecasts([*frames[:0:-1], shuffled])
    assert (a.ade, a.fde) == (pytest.approx(b.ade), pytest.approx(b.fde))
    assert (a.epa, a.hits, a.matched) == (b.epa, b.hits, b.matched)


def test_false_positive_costs_its_weight():
    frame = random_forecast(np.random.default_rng(3))
    extra = replace(
        frame,
        centers=np.concatenate([frame.centers, [[200.0, 0.0]]]),
        trajectories=np.concatenate([frame.trajectories, frame.trajectories[:1]]),
    )
    before = evaluate_forecasts([frame], ForecastProtocol(false_positive_weight=0.25))
    after = evaluate_forecasts([extra], ForecastProtocol(false_positive_weight=0.25))
    assert before.epa - after.epa == pytest.approx(0.25 / before.ground_truth)
    assert after.ade == before.ade


def test_epa_is_at_least_zero():
    frame = random_forecast(np.random.default_rng(4))
    far = replace(frame, centers=frame.centers + 500.0)
    result = evaluate_forecasts([far])
    assert result.epa == 0
    assert result.hits == 0
    assert np.isnan(result.ade)


def test_frames_without_ground_truth_are_skipped():
    frame = random_forecast(np.random.default_rng(5))
    empty = replace(
        frame,
        gt_centers=frame.gt_centers[:0],
        gt_trajectories=frame.gt_trajectories[:0],
        gt_valid=frame.gt_valid[:0],
    )
    assert evaluate_forecasts([frame, empty]) == evaluate_forecasts([frame])
    nothing = evaluate_forecasts([empty])
    assert np.isnan([nothing.ade, nothing.fde, nothing.miss_rate, nothing.epa]).all()


def test_unknown_end_is_neither_hit_nor_false():
    frame = random_forecast(np.random.default_rng(6), num_gt=1)
    frame = replace(
        frame,
        centers=frame.gt_centers,
        trajectories=frame.gt_trajectories[:, None],
        gt_valid=np.array([[True, True, True, True, True, False]]),
    )
    result = evaluate_forecasts([frame])
    assert (result.hits, result.false_positives, result.ground_truth) == (0, 0, 0)
    assert np.isnan(result.epa)
    assert result.ade == 0


def test_standing_still_stands_still():
    frame = random_forecast(np.random.default_rng(7))
    still = standing_still(frame)
    assert still.trajectories.shape == (len(frame.centers), 1, 6, 2)
    assert (still.trajectories == frame.centers[:, None, None]).all()
    assert evaluate_forecasts([still]).epa < evaluate_forecasts([frame]).epa


def straight(centers, end_errors=0.0, scores=None):
    """Objects 10 m to the side of each other stand still; predictions of them end wrong by x."""
    centers = np.asarray(centers, dtype=float)
    paths = np.tile(centers[:, None, None], (1, 1, 2, 1))
    paths[:, 0, -1, 0] += end_errors
    scores = np.ones(len(centers)) if scores is None else np.asarray(scores)
    return centers, paths, scores


def scene(predicted, objects, valid=None):
    centers, paths, scores = predicted
    objects = np.asarray(objects, dtype=float)
    return ForecastFrame(
        centers=centers,
        trajectories=paths,
        gt_centers=objects,
        gt_trajectories=np.tile(objects[:, None], (1, 2, 1)),
        gt_valid=np.ones((len(objects), 2), bool) if valid is None else np.asarray(valid),
        scores=scores,
    )


def test_greedy_matching_takes_the_nearest_and_leaves_the_others_with_nothing():
    """The better detection takes the object that the worse one would have needed."""
    centers = np.array([[1.0, 0], [-1.5, 0]])
    objects = np.array([[0.0, 0], [2.4, 0]])
    row, gt_row = match_greedily(centers, np.array([0.9, 0.8]), objects, 2.0)
    assert (row.tolist(), gt_row.tolist()) == ([0], [0])
    row, gt_row = match_greedily(centers, np.array([0.8, 0.9]), objects, 2.0)
    assert (row.tolist(), gt_row.tolist()) == ([1, 0], [0, 1])
    assert len(match_centers(centers, objects, 2.0)[0]) == 2


def test_an_error_of_just_the_threshold():
    frame = scene(straight([[0, 0]], 2.0), [[0, 0]])
    assert evaluate_forecasts([frame], PROTOCOLS['vip3d']).hits == 1
    assert evaluate_forecasts([frame], PROTOCOLS['vad']).hits == 1
    for name in ('uniad', 'univ2x'):
        strict = evaluate_forecasts([frame], PROTOCOLS[name])
        assert (strict.hits, strict.misses, strict.miss_rate) == (0, 1, 0)


def test_a_swerve_on_the_way_is_a_miss_for_uniad_alone():
    frame = scene(straight([[0, 0]]), [[0, 0]])
    frame.trajectories[:, :, 0, 1] = 3.0
    assert evaluate_forecasts([frame]).miss_rate == 0
    worst = evaluate_forecasts([frame], PROTOCOLS['uniad'])
    assert (worst.miss_rate, worst.hits) == (1, 1)


def test_scores_up_to_the_threshold_are_left_out():
    frame = scene(straight([[0, 0], [50, 0]], scores=[0.7, 0.6]), [[0, 0], [10, 0]])
    assert evaluate_forecasts([frame]).false_positives == 1
    vad = evaluate_forecasts([frame], PROTOCOLS['vad'])
    assert (vad.hits, vad.false_positives, vad.epa) == (1, 0, 0.5)


def test_false_alarms_where_nothing_is_and_below_zero():
    full = scene(straight([[0, 0]]), [[0, 0]])
    empty = scene(straight([[0, 0], [10, 0], [20, 0]]), np.zeros((0, 2)))
    assert evaluate_forecasts([full, empty]).epa == 1
    for name in ('vad', 'uniad'):
        result = evaluate_forecasts([full, empty], PROTOCOLS[name])
        assert (result.false_positives, result.epa) == (3, -0.5)


@pytest.mark.parametrize('name', PROTOCOLS)
def test_every_protocol_adds_up(name):
    rng = np.random.default_rng(11)
    frames = [random_forecast(rng) for _ in range(5)]
    frames = [replace(f, scores=rng.random(len(f.centers))) for f in frames]
    result = evaluate_forecasts(frames, PROTOCOLS[name])
    assert 0 < result.hits + result.misses <= min(result.matched, result.ground_truth)
    share = (result.hits - 0.5 * result.false_positives) / result.ground_truth
    assert result.epa == pytest.approx(max(share, 0) if name == 'vip3d' else share)
    nothing = evaluate_forecasts([], PROTOCOLS[name])
    assert np.isnan([nothing.ade, nothing.miss_rate, nothing.epa]).all()


@pytest.mark.parametrize('name', ['vad', 'uniad'])
def test_missing_scores_are_named(name):
    frame = replace(random_forecast(np.random.default_rng(0)), scores=None)
    assert evaluate_forecasts([frame]).matched > 0, 'the default needs none'
    with pytest.raises(ValueError, match=r'ForecastFrame\.scores'):
        evaluate_forecasts([frame], PROTOCOLS[name])


def test_missing_mode_scores_are_named():
    frame = replace(random_forecast(np.random.default_rng(0)), mode_scores=None)
    with pytest.raises(ValueError, match=r'ForecastFrame\.mode_scores'):
        likeliest_mode(frame)


def test_only_takes_some_predictions_and_some_objects():
    frame = random_forecast(np.random.default_rng(0))
    frame = replace(frame, gt_velocities=frame.gt_centers / 2, velocities=frame.centers / 3)
    some, gt_some = np.arange(0, 11, 2), np.arange(10) > 6
    found = frame.only(some, gt_some)
    for name, values in vars(frame).items():
        rows = gt_some if name.startswith('gt_') else some
        expected = None if values is None else values[rows]
        np.testing.assert_equal(getattr(found, name), expected)
    np.testing.assert_equal(vars(frame.only(some)), vars(frame.only(some, np.arange(10))))


def test_unknown_word_in_a_protocol_is_named():
    with pytest.raises(ValueError, match="matching must be one of .*got 'hungarian'"):
        ForecastProtocol(matching='hungarian')
