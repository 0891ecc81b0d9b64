"""Files of predictions: what is written comes back, and what cannot be used is named."""

import json

import numpy as np
import pytest
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from turbotrain.evaluation import (
    PredictionFileError,
    json_metrics,
    read_forecasts,
    read_predictions,
)
from turbotrain.structures import Agents

CLASSES = ('vehicle', 'pedestrian')
LINE = dict(
    scenario='a_1_0',
    frame=35,
    ego=-1,
    boxes=[[12.1, -3.4, -1.9, 4.4, 1.9, 1.6, 0.02]],
    scores=[0.87],
    labels=['pedestrian'],
    trajectories=[[[[14.1, -3.4], [16.0, -3.3]]]],
    trajectory_scores=[[1.0]],
)
HEAD = dict(
    format='turbotrain-predictions', version=1, class_names=['pedestrian'], modes=1, steps=2
)


def make_sample(num, modes=1, forecast=True):
    rng = np.random.default_rng(num)
    found = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(
            torch.tensor(rng.normal(size=(num, 7)), dtype=torch.float32)
        ),
        scores_3d=torch.tensor(rng.random(num), dtype=torch.float32),
        labels_3d=torch.tensor(rng.integers(0, 2, num)),
    )
    if forecast:
        paths = rng.normal(size=(num, modes, 6, 2)) * 1e3
        found.trajectories = torch.tensor(paths, dtype=torch.float32)
        found.trajectory_scores = torch.full((num, modes), 1 / 3)
        found.velocity = torch.tensor(rng.normal(size=(num, 2)), dtype=torch.float32)
    sample = Det3DDataSample()
    sample.set_metainfo(
        dict(
            scenario='2023-03-17-16-12-12_3_0',
            frame=5 * num,
            message_bytes=[100, 200],
            agents=Agents(
                ids=np.array([-1, 1]),
                kinds=np.array([1, 0]),
                time_offsets=np.zeros(1, np.float32),
                ego_from_agent=np.tile(np.eye(4), (2, 1, 1, 1)),
                valid=np.ones((2, 1), bool),
                speeds=np.zeros(2, np.float32),
                delays=np.zeros(2, np.float32),
            ),
        )
    )
    sample.pred_instances_3d = found
    return sample


@pytest.mark.parametrize(('modes', 'forecast'), [(1, True), (3, True), (1, False)])
def test_what_is_written_comes_back_bit_for_bit(tmp_path, modes, forecast):
    samples = [make_sample(num, modes, forecast) for num in (4, 0, 9)]
    path = tmp_path / 'new/a.jsonl'
    evaluator = Evaluator(dict(type='PredictionWriter', path=str(path)))
    evaluator.dataset_meta = dict(classes=CLASSES, step=0.25)
    evaluator.process(data_samples=samples)
    assert evaluator.evaluate(len(samples)) == {}
    assert [*path.parent.iterdir()] == [path]
    assert read_forecasts(path) == ((modes, 6, 0.25) if forecast else None)
    found = list(read_predictions(path, CLASSES))
    assert [(s['scenario'], s['frame'], s['ego']) for s in found] == [
        ('2023-03-17-16-12-12_3_0', 5 * num, -1) for num in (4, 0, 9)
    ]
    for sample, own in zip(samples, found, strict=True):
        assert own['message_bytes'] == [100, 200]
        back, given = own['pred_instances_3d'], sample.pred_instances_3d
        assert set(back) == set(given.keys())
        assert torch.equal(back['bboxes_3d'].tensor, given.bboxes_3d.tensor)
        for key in set(back) - {'bboxes_3d'}:
            assert torch.equal(back[key], given[key]), key


def test_a_single_mode_needs_no_scores(tmp_path):
    sample = make_sample(3)
    del sample.pred_instances_3d.trajectory_scores
    evaluator = Evaluator(dict(type='PredictionWriter', path=str(tmp_path / 'a.jsonl')))
    evaluator.dataset_meta = dict(classes=CLASSES)
    evaluator.process(data_samples=[sample])
    evaluator.evaluate(1)
    (found,) = read_predictions(tmp_path / 'a.jsonl', CLASSES)
    assert torch.equal(found['pred_instances_3d']['trajectory_scores'], torch.ones(3, 1))


def test_metrics_that_nothing_defines_are_no_numbers_in_json():
    told = json.dumps(json_metrics({'AP': 1.5, 'ADE': float('nan'), 'FDE': float('inf')}))
    assert json.loads(told, parse_constant=pytest.fail) == {'AP': 1.5, 'ADE': None, 'FDE': None}


def test_labels_are_names(tmp_path):
    """A file whose model knows fewer classes, in another order."""
    path = tmp_path / 'a.jsonl'
    path.write_text(f'{json.dumps(HEAD)}\n{json.dumps(LINE)}\n\n')
    (found,) = read_predictions(path, CLASSES)
    assert found['pred_instances_3d']['labels_3d'].tolist() == [1]
    assert read_forecasts(path) == (1, 2, 0.5)


def changed(**values):
    return json.dumps(LINE | values)


@pytest.mark.parametrize(
    ('head', 'line', 'message'),
    [
        ('', '', 'line 1: is no JSON'),
        ('[1]', '', 'line 1: expected a JSON object, got a list'),
        (json.dumps(HEAD | dict(version=2)), '', "line 1: expected .*'version': 1.*'version': 2"),
        (json.dumps(HEAD | dict(class_names=['bus'])), '', r"line 1: class_names: .*\['bus'\]"),
        (None, '{', 'line 2: is no JSON'),
        pytest.param(None, '[' * 100_000, 'line 2: is no JSON', id='deep'),
        (None, changed(frame='35'), "line 2: frame: expected int, got '35'"),
        (None, changed(ego=True), 'line 2: ego: expected int, got True'),
        (None, changed(labels=['bus']), "line 2: labels: .*got 'bus'"),
        (None, changed(boxes=[[1, 2, 3]]), r'line 2: boxes: .*\(1, 7\), got \(1, 3\)'),
        (None, changed(scores=[0.1, 0.2]), r'line 2: scores: .*\(1,\), got \(2,\)'),
        (None, changed(labels=[]), r'line 2: labels: .*1 of them, got 0'),
        (None, changed(velocity=[1.0, 2.0]), r'line 2: velocity: .*\(1, 2\), got \(2,\)'),
        (None, changed(scores=['high']), 'line 2: scores: expected numbers'),
        (None, changed(boxes=[[1, 2, 3, 4, 5, 6, None]]), 'line 2: boxes: holds what is no'),
        (None, changed(boxes=[[[1, 2], [3]]]), 'line 2: boxes: expected numbers in a full array'),
        (
            None,
            changed(trajectories=[[1.0]]),
            r'line 2: trajectories: expected shape \(1, 1, 2, 2\)',
        ),
        (None, json.dumps({k: v for k, v in LINE.items() if k != 'trajectories'}), 'line 2: traj'),
        (json.dumps(HEAD | dict(steps='2')), '', r"line 1: modes, steps: .*\(1, '2'\)"),
        (json.dumps(HEAD | dict(steps=10**9)), '', r'line 1: modes, steps: .*1 to 1000, got'),
        (json.dumps(HEAD | dict(step=0)), '', 'line 1: step: expected seconds .*, got 0'),
        (json.dumps(HEAD | dict(step='1')), '', "line 1: step: expected seconds .*, got '1'"),
        (json.dumps(HEAD | dict(step=10**400)), '', 'line 1: step: expected seconds .*, got'),
        pytest.param(
            None,
            f'{json.dumps(LINE)}\n\n{changed(scores=[0.2])}',
            'line 4: scenario, frame, ego: expected each once, got those of line 2',
            id='twice',
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, head, line, message):
    path = tmp_path / 'a.jsonl'
    path.write_text(f'{json.dumps(HEAD) if head is None else head}\n{line}\n')
    with pytest.raises(PredictionFileError, match=f'{path}, {message}'):
        list(read_predictions(path, CLASSES))


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(PredictionFileError, match='none.jsonl: cannot be read'):
        list(read_predictions(tmp_path / 'none.jsonl', CLASSES))
    (tmp_path / 'b').write_bytes(b'\xff\xfe\x00' * 9)
    with pytest.raises(PredictionFileError, match='b: cannot be read'):
        list(read_predictions(tmp_path / 'b', CLASSES))


@pytest.mark.parametrize(
    ('line', 'change'),
    [
        (0, dict(class_names=[['vehicle']])),
        (0, dict(format=list(range(9999)))),
        (1, dict(labels=[{}])),
        (1, dict(boxes=[[10**60] + [1.0] * 6])),
        (1, dict(message_bytes='many')),
        (1, dict(message_bytes=[-1])),
        (1, '[' * 100_000),
        (1, '9' * 5000),
    ],
    ids=str,
)
def test_values_of_any_kind_are_refused_by_line(line, change, tmp_path):
    head = dict(format='turbotrain-predictions', version=1, class_names=['vehicle'])
    found = dict(
        scenario='a', frame=3, ego=1, boxes=[[1.0] * 7], scores=[0.5], labels=['vehicle']
    )  # fmt: skip
    lines = [head, found]
    lines[line] = lines[line] | change if isinstance(change, dict) else change
    text = [value if isinstance(value, str) else json.dumps(value) for value in lines]
    (tmp_path / 'a.jsonl').write_text('\n'.join(text))
    with pytest.raises(PredictionFileError, match=f'a.jsonl, line {line + 1}: ') as error:
        list(read_predictions(tmp_path / 'a.jsonl', ['vehicle']))
    assert len(str(error.value)) < 600
