"""The metric, driven as mmengine's test loop drives it."""

import json
import logging
import pickle

import numpy as np
import pytest
import torch
from mmdet3d.registry import METRICS
from mmdet3d.structures import (
    CameraInstance3DBoxes,
    DepthInstance3DBoxes,
    Det3DDataSample,
    LiDARInstance3DBoxes,
)
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData

from turbotrain.errors import SettingError
from turbotrain.evaluation import CooperativeMetric
from turbotrain.structures import corners_inside

CLASSES = ('vehicle', 'pedestrian')


def make_sample(index=0, num=6, forecast=True, seed=None):
    """A sample whose predictions are perfect: ``num`` objects apart from each other, all moving."""
    rng = np.random.default_rng(index if seed is None else seed)
    boxes = np.zeros((num, 7), np.float32)
    boxes[:, 0] = np.arange(num) * 9.0 - 25.0
    boxes[:, 1] = rng.uniform(-20, 20, num)
    boxes[:, 3:6] = [4.5, 2.0, 1.6]
    boxes[:, 6] = rng.uniform(-np.pi, np.pi, num)
    steps = np.arange(1, 7, dtype=np.float32)[:, None]
    futures = boxes[:, None, :2] + np.float32([3.0, 1.0]) * steps
    labels = torch.arange(num) % 2
    truth = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.tensor(boxes)),
        labels_3d=labels,
        future_trajectories=torch.tensor(futures),
        future_valid=torch.ones(num, 6, dtype=torch.bool),
    )
    predicted = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.tensor(boxes)),
        labels_3d=labels.clone(),
        scores_3d=torch.tensor(rng.uniform(0.2, 1.0, num), dtype=torch.float32),
    )
    if forecast:
        predicted.trajectories = torch.tensor(futures)[:, None].clone()
        predicted.trajectory_scores = torch.ones(num, 1)
    sample = Det3DDataSample(metainfo={'sample_idx': f'scenario_{index}'})
    sample.gt_instances_3d, sample.pred_instances_3d = truth, predicted
    return sample


def evaluate(samples, **kwargs):
    evaluator = Evaluator(dict(type='CooperativeMetric', class_names=CLASSES, **kwargs))
    for sample in samples:
        evaluator.process(data_samples=[sample])
    return evaluator.evaluate(len(samples))


def test_perfect_predictions():
    metrics = evaluate([make_sample(i) for i in range(3)])
    for threshold in ('0.3', '0.5', '0.7'):
        for kind in ('AP', 'AP_frame_order'):
            for name in CLASSES:
                assert metrics[f'{kind}@{threshold}/{name}'] == 100
            assert metrics[f'm{kind}@{threshold}'] == 100
    assert (metrics['ADE'], metrics['FDE'], metrics['MR'], metrics['EPA']) == (0, 0, 0, 100)
    assert metrics['EPA/vehicle'] == metrics['EPA/pedestrian'] == 100
    assert metrics['EPA_stationary'] == metrics['EPA_stationary/vehicle'] == 0


def test_classes_are_those_of_the_dataset():
    evaluator = Evaluator(dict(type='CooperativeMetric', class_names=CLASSES))
    evaluator.dataset_meta = dict(classes=tuple(CLASSES))
    evaluator.process(data_samples=[make_sample()])
    evaluator.dataset_meta = dict(classes=tuple(CLASSES[::-1]))  # all would be named wrongly
    with pytest.raises(SettingError, match='class_names of the metric: expected the classes of'):
        evaluator.process(data_samples=[make_sample()])


def test_result_can_be_logged_and_written():
    metrics = evaluate([make_sample(), make_sample(1, num=0)])
    assert all(type(value) is float for value in metrics.values())
    json.dumps(metrics)
    MMLogger.get_instance('metric').log(
        logging.INFO, ' '.join(f'{k}: {v:.4f}' for k, v in metrics.items())
    )


def test_prefix_is_put_before_every_name():
    assert all(name.startswith('test/') for name in evaluate([make_sample()], prefix='test'))


def test_half_right_forecasts():
    """Half of the objects stand still in their forecast: half of them miss."""
    sample = make_sample()
    predicted = sample.pred_instances_3d
    predicted.trajectories[::2] = predicted.bboxes_3d.bev[::2, None, None, :2]
    metrics = evaluate([sample])
    assert (metrics['MR'], metrics['EPA']) == (50, 50)
    assert (metrics['EPA/vehicle'], metrics['EPA/pedestrian']) == (0, 100)
    assert metrics['FDE'] == pytest.approx(0.5 * 6 * 10**0.5, rel=1e-5)


def test_forecasting_options():
    sample = make_sample()
    sample.pred_instances_3d.scores_3d[:] = torch.tensor([0.1, 0.9, 0.9, 0.9, 0.9, 0.9])
    sample.pred_instances_3d.trajectories[1::2] += 50.0
    assert evaluate([sample], forecasting_classes=['vehicle'])['EPA'] == 100
    assert 'EPA/pedestrian' not in evaluate([sample], forecasting_classes=['vehicle'])
    metrics = evaluate([sample], forecasting_score_threshold=0.5)
    assert metrics['EPA/vehicle'] == pytest.approx(200 / 3)
    assert metrics['AP@0.5/vehicle'] == 100
    assert evaluate([sample], miss_threshold=100.0)['MR'] == 0


def test_what_epa_is_made_of():
    """Of six objects one is not found, two are forecast wrongly; there are three false alarms."""
    sample = make_sample()
    predicted = sample.pred_instances_3d
    predicted.bboxes_3d.tensor[0, :2] += 5.0
    predicted.trajectories[1:3] += 50.0
    extra = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.tensor([[0, 39, 0, 1, 1, 1, 0.0]]).repeat(2, 1)),
        labels_3d=torch.zeros(2, dtype=torch.int64),
        scores_3d=torch.zeros(2),
        trajectories=torch.zeros(2, 1, 6, 2),
        trajectory_scores=torch.ones(2, 1),
    )
    boxes = torch.cat([predicted.bboxes_3d.tensor, extra.bboxes_3d.tensor])
    values = {
        key: torch.cat([predicted[key], extra[key]])
        for key in ('labels_3d', 'scores_3d', 'trajectories', 'trajectory_scores')
    }
    sample.pred_instances_3d = InstanceData(bboxes_3d=LiDARInstance3DBoxes(boxes), **values)
    metrics = evaluate([sample])
    parts = [metrics[f'EPA_{part}'] for part in ('hits', 'misses', 'not_found', 'false_alarms')]
    assert parts == pytest.approx([50, 200 / 6, 100 / 6, 50])
    assert metrics['EPA'] == pytest.approx(25)
    each = [metrics['EPA/vehicle'], metrics['EPA/pedestrian']]
    assert metrics['mEPA'] == pytest.approx(np.mean(each))
    assert evaluate([sample], forecasting_score_threshold=0.1)['EPA'] == pytest.approx(
        100 * 2.5 / 6
    )


def test_protocols_differ():
    sample = make_sample()
    sample.pred_instances_3d.scores_3d[:] = torch.tensor([0.1, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert evaluate([sample])['EPA'] == 100
    assert evaluate([sample], protocol='vad')['EPA'] == pytest.approx(500 / 6)
    assert evaluate([sample], protocol='vad', forecasting_score_threshold=0.05)['EPA'] == 100


def test_whom_epa_counts_is_a_setting():
    sample = make_sample()
    sample.gt_instances_3d.future_valid[0] = False
    assert evaluate([sample])['EPA'] == 100
    assert evaluate([sample], counted='every')['EPA'] == pytest.approx(500 / 6)
    with pytest.raises(SettingError, match="counted must be one of .* got 'some'"):
        evaluate([sample], counted='some')


def test_spans_of_distance():
    """Of three vehicles 5, 41 and 59 m away the middle one is found too far to the side."""
    sample = make_sample(num=3)
    for instances in (sample.gt_instances_3d, sample.pred_instances_3d):
        instances.labels_3d[:] = 0
        instances.bboxes_3d.tensor[:, :2] = torch.tensor([[3.0, 4.0], [40.0, 9.0], [59.0, 0.0]])
    sample.pred_instances_3d.bboxes_3d.tensor[1, 1] -= 20.0
    metrics = evaluate([sample])
    spans = [metrics[f'AP@0.5/vehicle/{span}m'] for span in ('0-30', '30-50', '50-100')]
    assert spans == [100, 0, 100] and metrics['mAP@0.5/50-100m'] == 100
    assert np.isnan(metrics['AP@0.5/pedestrian/0-30m'])
    names = evaluate([sample], range_bins=[(0, 5.5)])
    assert names['mAP@0.7/0-5.5m'] == 100 and not any('30m' in name for name in names)


def test_several_modes():
    """The second mode is right, and thought 30 % likely; the first one stays 3 m behind."""
    sample = make_sample()
    predicted = sample.pred_instances_3d
    right = predicted.trajectories
    wrong = right - torch.tensor([3.0, 0.0])
    predicted.trajectories = torch.cat([wrong, right], dim=1)
    predicted.trajectory_scores = torch.tensor([[0.7, 0.3]]).repeat(6, 1)
    metrics = evaluate([sample])
    assert (metrics['minADE'], metrics['minFDE']) == (0, 0)
    assert metrics['Brier_minFDE'] == pytest.approx(0.49, abs=1e-6)
    assert (metrics['ADE'], metrics['FDE']) == pytest.approx((3, 3))
    assert (metrics['MR'], metrics['EPA']) == (0, 100)
    del predicted.trajectory_scores
    with pytest.raises(KeyError, match="scenario_0: pred_instances_3d lacks 'trajectory_scores'"):
        evaluate([sample])


def test_one_mode_has_no_metrics_of_several():
    sample = make_sample()
    del sample.pred_instances_3d.trajectory_scores
    assert not {'minADE', 'minFDE', 'Brier_minFDE'} & set(evaluate([sample]))
    other = make_sample(1)
    other.pred_instances_3d.trajectories = other.pred_instances_3d.trajectories.repeat(1, 2, 1, 1)
    other.pred_instances_3d.trajectory_scores = torch.full((6, 2), 0.5)
    with pytest.raises(ValueError, match=r'number of modes: \[1, 2\]'):
        evaluate([sample, other])


def test_boxes_across_the_border_do_not_count():
    sample = make_sample(num=2)
    inside, across = torch.tensor([68.1, 38.9]), torch.tensor([69.0, 0.0])
    for instances in (sample.gt_instances_3d, sample.pred_instances_3d):
        instances.bboxes_3d.tensor[:, :2] = torch.stack([inside, across])
        instances.bboxes_3d.tensor[:, 6] = 0.0
    metrics = evaluate([sample])
    assert metrics['AP@0.5/vehicle'] == 100
    assert np.isnan(metrics['AP@0.5/pedestrian'])
    assert metrics['mAP@0.5'] == 100
    assert np.isnan(metrics['EPA/pedestrian'])


def test_border_is_inside():
    sample = make_sample(num=1)
    for instances in (sample.gt_instances_3d, sample.pred_instances_3d):
        instances.bboxes_3d.tensor[0] = torch.tensor([2.0, 1.0, 0.0, 4.0, 2.0, 2.0, 0.0])
    assert evaluate([sample], eval_range=(0, 0, 4, 2))['AP@0.5/vehicle'] == 100
    assert np.isnan(evaluate([sample], eval_range=(0, 0, 3.9, 2))['AP@0.5/vehicle'])


@pytest.mark.parametrize('least', [8, 2, 0])
def test_heights_that_count_are_those_of_the_labels(least):
    """What the range filter takes for no object is no detection either."""
    sample = make_sample(num=6)
    for instances in (sample.gt_instances_3d, sample.pred_instances_3d):
        instances.labels_3d[:] = 0
        instances.bboxes_3d.tensor[:, 2] = torch.tensor([-4.0, -3.0, -1.5, -0.5, 0.0, 2.0])
    boxes = sample.gt_instances_3d.bboxes_3d.tensor.double().numpy()
    limits = [-70.4, -40.0, -3.0, 70.4, 40.0, 1.0]
    inside = torch.from_numpy(corners_inside(boxes, limits) >= least)
    assert int(inside.sum()) == {8: 2, 2: 5, 0: 6}[least]
    # These are found elsewhere, and are no false alarms there either.
    sample.pred_instances_3d.bboxes_3d.tensor[~inside, 0] += 5.0
    metrics = evaluate([sample], z_range=(-3.0, 1.0), min_corners=least)
    assert (metrics['AP@0.7/vehicle'], metrics['EPA'], metrics['EPA_false_alarms']) == (100, 100, 0)


def test_nothing_predicted_and_nothing_there():
    blind = make_sample()
    blind.pred_instances_3d = make_sample(num=0).pred_instances_3d
    metrics = evaluate([blind])
    assert (metrics['AP@0.5/vehicle'], metrics['EPA'], metrics['EPA_stationary']) == (0, 0, 0)
    assert np.isnan(metrics['ADE'])
    assert all(np.isnan(value) for value in evaluate([make_sample(num=0)]).values())


def test_detection_only():
    metrics = evaluate([make_sample(i, forecast=False) for i in range(2)])
    assert metrics['mAP@0.7'] == 100
    assert all(name.startswith(('AP', 'mAP', 'yaw_')) for name in metrics)
    with pytest.raises(ValueError, match=r"scenario_1.*'trajectories'"):
        evaluate([make_sample(0), make_sample(1, forecast=False)])


def test_error_names_scenario_and_frame_where_known():
    sample = make_sample(4)
    sample.set_metainfo({'scenario': '2023-04-07_1', 'frame': 35})
    del sample.pred_instances_3d.scores_3d
    with pytest.raises(KeyError, match='2023-04-07_1, frame 35: pred_instances_3d lacks .*scores'):
        evaluate([sample])


@pytest.mark.parametrize('key', ['bboxes_3d', 'labels_3d', 'future_trajectories', 'future_valid'])
def test_missing_key_is_named(key):
    sample = make_sample(4)
    del sample.gt_instances_3d[key]
    with pytest.raises(KeyError, match=f'scenario_4: gt_instances_3d lacks .*{key}'):
        evaluate([sample])


def test_missing_instances_are_named():
    sample = make_sample(4)
    del sample.gt_instances_3d
    with pytest.raises(KeyError, match='scenario_4: gt_instances_3d is missing'):
        evaluate([sample])


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('scores_3d', torch.full((6,), torch.nan), 'scores_3d holds NaN'),
        ('labels_3d', torch.full((6,), 2), 'holds label 2; class_names has 2'),
        ('labels_3d', torch.full((6,), 0.7), 'labels_3d is of type float32, expected int64'),
        ('trajectories', torch.zeros(6, 1, 5, 2), r'shape \(6, 1, 5, 2\), expected'),
    ],
)
def test_wrong_prediction_is_named(key, value, message):
    sample = make_sample(4)
    sample.pred_instances_3d[key] = value
    with pytest.raises(ValueError, match=f'scenario_4: pred_instances_3d.*{message}'):
        evaluate([sample])


@pytest.mark.parametrize('kind', [CameraInstance3DBoxes, DepthInstance3DBoxes])
@pytest.mark.parametrize('key', ['gt_instances_3d', 'pred_instances_3d'])
def test_boxes_with_other_axes_are_refused(key, kind):
    sample = make_sample(4)
    sample.get(key).bboxes_3d = kind(sample.get(key).bboxes_3d.tensor)
    words = f'scenario_4: {key}.bboxes_3d is of type {kind.__name__}, expected LiDARInstance3DBoxes'
    with pytest.raises(ValueError, match=words):
        evaluate([sample])


@pytest.mark.parametrize('key', ['future_valid', 'velocity_valid'])
@pytest.mark.parametrize('kind', [torch.float32, torch.int64])
def test_masks_are_bool(key, kind):
    """0.2 would count as true."""
    sample = make_sample(4)
    truth = sample.gt_instances_3d
    truth.velocity, truth.velocity_valid = torch.zeros(6, 2), torch.ones(6).bool()
    setattr(truth, key, getattr(truth, key).to(kind))
    with pytest.raises(ValueError, match=f'{key} is of type {kind}'.replace('torch.', '')):
        evaluate([sample])


def test_future_that_is_not_valid_may_be_nan():
    sample = make_sample()
    sample.gt_instances_3d.future_valid[0, 3:] = False
    sample.gt_instances_3d.future_trajectories[0, 3:] = torch.nan
    assert evaluate([sample])['EPA'] == 100
    sample.gt_instances_3d.future_valid[:] = True
    with pytest.raises(ValueError, match='future_trajectories holds NaN'):
        evaluate([sample])


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'class_names': 'vehicle'}, 'class_names'),
        ({'class_names': []}, 'class_names'),
        ({'class_names': CLASSES, 'iou_thresholds': (0.0,)}, 'iou_thresholds'),
        ({'class_names': CLASSES, 'eval_range': (0, 0, 0, 1, 1, 1)}, 'eval_range'),
        ({'class_names': CLASSES, 'eval_range': (0, 0, 0, 1)}, 'eval_range'),
        ({'class_names': CLASSES, 'z_range': (1.0, -3.0)}, 'z_range'),
        ({'class_names': CLASSES, 'min_corners': 9}, 'min_corners'),
        ({'class_names': CLASSES, 'forecasting_classes': ['bus']}, 'forecasting_classes'),
        ({'class_names': CLASSES, 'protocol': 'argoverse'}, 'protocol must be one of'),
        ({'class_names': CLASSES, 'range_bins': [(30, 0)]}, 'range_bins'),
    ],
)
def test_wrong_option_is_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        METRICS.build(dict(type='CooperativeMetric', **kwargs))


def test_records_are_small_and_travel_between_processes():
    metric = CooperativeMetric(CLASSES)
    metric.process(None, [make_sample().to_dict()])
    blob = pickle.dumps(metric.results)
    assert len(blob) < 6000
    again = metric.compute_metrics(pickle.loads(blob))
    np.testing.assert_equal(again, metric.compute_metrics(metric.results))


def test_message_sizes_are_averaged_over_messages():
    assert 'message_bytes' not in evaluate([make_sample()])

    def samples(*sizes):
        found = [make_sample(i) for i in range(len(sizes))]
        for sample, sent in zip(found, sizes, strict=True):
            sample.set_metainfo(dict(message_bytes=sent))
        return found

    assert evaluate(samples([100, 200], [], [600]))['message_bytes'] == 300
    assert evaluate(samples([], []))['message_bytes'] == 0


def test_baselines_and_headings_have_their_values():
    """Objects move 3 m and 1 m a step of 0.5 s; half of the velocities are half of that."""
    sample = make_sample()
    for instances in (sample.gt_instances_3d, sample.pred_instances_3d):
        instances.velocity = torch.tensor([[6.0, 2.0]]).repeat(6, 1)
    sample.gt_instances_3d.velocity_valid = torch.ones(6, dtype=torch.bool)
    sample.pred_instances_3d.velocity[::2] /= 2  # of all vehicles, and of no pedestrian
    turned = sample.pred_instances_3d.bboxes_3d.tensor
    turned[0, 6] += np.pi + 0.2
    turned[2, 6] += 0.1
    metrics = evaluate([sample])
    assert metrics['EPA_true_velocity'] == metrics['EPA_constant_velocity/pedestrian'] == 100
    assert metrics['FDE_true_velocity'] == pytest.approx(0, abs=1e-4)
    assert metrics['EPA_constant_velocity/vehicle'] == 0
    half = 0.5 * 10**0.5  # of a step's way
    assert metrics['FDE_constant_velocity/vehicle'] == pytest.approx(6 * half, rel=1e-4)
    assert metrics['ADE_constant_velocity/vehicle'] == pytest.approx(3.5 * half, rel=1e-4)
    assert metrics['FDE_stationary'] == pytest.approx(12 * half, rel=1e-4)
    assert metrics['yaw_reversed/vehicle'] == pytest.approx(100 / 3)
    assert metrics['yaw_error/vehicle'] == pytest.approx(np.degrees(0.1), rel=1e-3)
    assert metrics['yaw_reversed/pedestrian'] == metrics['yaw_error/pedestrian'] == 0
    # With a second from one position to the next, 6 m/s would lead twice as far.
    evaluator = Evaluator(dict(type='CooperativeMetric', class_names=CLASSES))
    evaluator.dataset_meta = dict(classes=tuple(CLASSES), step=1.0)
    evaluator.process(data_samples=[sample])
    slower = evaluator.evaluate(1)
    assert slower['FDE_true_velocity'] == pytest.approx(12 * half, rel=1e-4)
