"""Saved predictions of all five datasets, scored with nothing on the command line but files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from mmengine.config import Config

from tests.layouts import DATASETS, matrix, rewrite
from tests.scenes import write_scenario
from tools.analysis import evaluate
from turbotrain.datasets import build_infos, save_infos
from turbotrain.datasets.readers import DIALECTS, DataFileError
from turbotrain.errors import UserError
from turbotrain.report.scoring import score

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets'
SCENARIO, FRAMES = '2023-03-17-16-12-12_3_0', range(36)
CARLA = ('opv2v', 'v2xset')  # with frame numbers of 50 ms
THREE = dict(
    Car='vehicle', PoliceCar='vehicle', Truck='truck', Bus='truck', Pedestrian='pedestrian',
    BicycleRider='pedestrian',
)  # fmt: skip
ONE = dict(Car='vehicle', PoliceCar='vehicle', Truck='vehicle', Bus='vehicle')
NAMES = dict(
    v2xpnp=THREE, v2xreal=THREE, opv2v=dict.fromkeys(THREE, 'vehicle'), v2xset=ONE, v2v4real=ONE
)


@pytest.fixture(scope='module')
def recording(tmp_path_factory) -> tuple[dict[int, dict], dict[str, Path]]:
    """Annotations by frame number, and the infos of the same as each dataset has it.

    10 Hz of six objects, of which the third leaves, and the bus is too tall for OPV2V.
    """
    root, scenes, infos = tmp_path_factory.mktemp('recording'), {}, {}
    folder = write_scenario(root / 'source', 'test', SCENARIO, (1,), FRAMES, objects=6)
    for path in (folder / '1').glob('*.yaml'):
        scene = scenes[int(path.stem)] = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        if int(path.stem) >= 20:
            del scene['vehicles'][2]
        bus = scene['vehicles'][4]
        bus['location'][2] += 1.8 - bus['extent'][2]
        bus['extent'][2] = 1.8
        path.write_text(yaml.dump(scene, Dumper=yaml.CSafeDumper))
    for dataset in DATASETS:
        rewrite(root / 'source', root / dataset, dataset)
        infos[dataset] = root / dataset / f'{dataset}_infos_test.npz'
        save_infos(str(infos[dataset]), build_infos(str(root / dataset), 'test', dataset))
    return scenes, infos


def perfect(scenes: dict[int, dict], dataset: str, steps: int = 6, frames: int = 5) -> list[dict]:
    """What the annotations say, as a model would that knows them: by SciPy's rotations."""
    lines = []
    for frame in FRAMES[::3]:
        scene = scenes[frame]
        ego_from_world = np.linalg.inv(matrix(scene['lidar_pose']))
        boxes, labels, paths = [], [], []
        for key, item in scene['vehicles'].items():
            if item['obj_type'] not in NAMES[dataset]:
                continue
            pose = ego_from_world @ matrix([*item['location'], *item['angle']])
            size = 2 * np.array(item['extent'])
            yaw = np.arctan2(pose[1, 0], pose[0, 0])
            boxes.append([*pose[:3, 3] - [0, 0, size[2] / 2], *size, yaw])
            labels.append(NAMES[dataset][item['obj_type']])
            later = [scenes.get(frame + frames * k, scene) for k in range(1, steps + 1)]
            places = [then['vehicles'].get(key, item)['location'] for then in later]
            paths.append([(ego_from_world @ [*place, 1])[:2].tolist() for place in places])
        line = dict(
            scenario=SCENARIO,
            frame=frame * (2 if dataset in CARLA else 1),
            ego=1,
            boxes=np.array(boxes).tolist(),
            scores=[0.9] * len(boxes),
            labels=labels,
            trajectories=[[path] for path in paths],
            trajectory_scores=[[1.0]] * len(boxes),
        )
        lines.append(line)
    return lines


def save(path: Path, lines: list[dict], **head) -> Path:
    names = sorted({label for line in lines for label in line['labels']})
    first = dict(format='turbotrain-predictions', version=1, class_names=names) | head
    path.write_text('\n'.join(map(json.dumps, [first, *lines])))
    return path


def run(monkeypatch, predictions: Path, infos: Path, *words: str) -> dict[str, float]:
    out = predictions.with_name('scores.json')
    known = ['--predictions', predictions, '--infos', infos, '--out', out]
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', *map(str, [*known, *words])])
    evaluate.main()
    return json.loads(out.read_text())['vip3d']


@pytest.mark.parametrize('dataset', DATASETS)
def test_perfect_forecasts_score_all_there_is(recording, tmp_path, monkeypatch, dataset):
    scenes, infos_of = recording
    lines = perfect(scenes, dataset)
    path = save(tmp_path / 'found.jsonl', lines, modes=1, steps=6)
    metrics = run(monkeypatch, path, infos_of[dataset])
    assert metrics['ADE'] == pytest.approx(0, abs=1e-4)
    for name, value in dict(EPA=100, EPA_hits=100, EPA_false_alarms=0, MR=0, mEPA=100).items():
        assert metrics[name] == value, name
    assert metrics['mAP@0.7'] == pytest.approx(100)
    # Objects move, so that forecasts which run a fifth behind are no longer perfect.
    assert metrics['EPA_stationary'] < 100
    late = perfect(scenes, dataset, frames=4)
    path = save(tmp_path / 'found.jsonl', late, modes=1, steps=6)
    assert run(monkeypatch, path, infos_of[dataset])['ADE'] > 0.1


@pytest.mark.parametrize(
    ('dataset', 'head', 'frames'),
    [
        ('v2xpnp', dict(steps=1), 5),
        ('v2v4real', dict(steps=3, step=1.0), 10),
        ('opv2v', dict(steps=12, step=0.2), 2),
        ('v2xset', dict(steps=2, step=1), 10),
    ],
)
def test_the_file_says_how_far_it_forecasts(
    recording, tmp_path, monkeypatch, dataset, head, frames
):
    scenes, infos_of = recording
    lines = perfect(scenes, dataset, head['steps'], frames)
    path = save(tmp_path / 'found.jsonl', lines, modes=1, **head)
    metrics = run(monkeypatch, path, infos_of[dataset])
    assert (metrics['EPA'], metrics['EPA_false_alarms']) == (100, 0)
    assert metrics['ADE'] == pytest.approx(0, abs=1e-4)
    assert score(path, None, infos_of[dataset]).metrics['EPA'] == 100


def test_beyond_the_end_of_the_recording_and_without_forecasts(recording, tmp_path, monkeypatch):
    scenes, infos_of = recording
    lines = perfect(scenes, 'v2xreal', 12)
    path = save(tmp_path / 'found.jsonl', lines, modes=1, steps=12)
    metrics = run(monkeypatch, path, infos_of['v2xreal'])
    assert metrics['ADE'] == pytest.approx(0, abs=1e-4) and metrics['FDE'] is None
    boxes = [{k: v for k, v in line.items() if not k.startswith('traj')} for line in lines]
    metrics = run(monkeypatch, save(path, boxes), infos_of['v2xreal'])
    assert metrics['mAP@0.7'] == pytest.approx(100) and 'EPA' not in metrics


def test_what_the_file_and_the_recording_disagree_in_is_said(recording, tmp_path, monkeypatch):
    scenes, infos_of = recording
    lines = perfect(scenes, 'opv2v')
    for head, words, error, text in (
        (dict(step=0.25), [], DataFileError, 'opv2v_infos_test.npz: step: 0.25 s asked for'),
        (dict(step=-1), [], UserError, 'found.jsonl, line 1: step: expected seconds above 0'),
        (dict(class_names=['truck']), [], UserError, 'class_names: expected names of the class'),
        (dict(), ['--mode', 'ic'], DataFileError, "no scenario has an agent .* in mode 'ic'"),
    ):
        path = save(tmp_path / 'found.jsonl', lines, modes=1, steps=6, **head)
        with pytest.raises(error, match=text):
            run(monkeypatch, path, infos_of['opv2v'], *words)


def test_what_the_command_line_says_goes_before_the_config(recording, monkeypatch):
    _, infos_of = recording
    words = ['--z-range', '-2', '2', '--min-corners', '3', '--mode', 'i2i', '--max-agents', '1']
    words = ['--predictions', 'p', '--infos', str(infos_of['v2v4real']), *words]
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', *words])
    found = evaluate.configure(evaluate.parse_args())
    own = Config.fromfile(CONFIGS / 'v2v4real.py')
    changed = own.test_dataloader.dataset | dict(
        mode='i2i', max_agents=1, pipeline=[], data_root=str(infos_of['v2v4real'].parent)
    )
    assert found.test_dataloader.dataset == changed
    assert found.test_evaluator == own.test_evaluator | dict(z_range=[-2, 2], min_corners=3)


@pytest.mark.parametrize('dataset', [*DIALECTS, 'mini_v2xpnp'])
def test_the_metric_counts_the_boxes_that_the_pipeline_keeps(dataset):
    cfg = Config.fromfile(CONFIGS / f'{dataset}.py')
    (keep,) = [
        t for t in cfg.test_dataloader.dataset.pipeline if t.type == 'CooperativeRangeFilter'
    ]
    x_min, y_min, x_max, y_max = cfg.test_evaluator.eval_range
    z_min, z_max = cfg.test_evaluator.z_range
    assert keep.label_range == [x_min, y_min, z_min, x_max, y_max, z_max]
    assert keep.get('min_corners', 8) == cfg.test_evaluator.min_corners
    assert cfg.val_evaluator == cfg.test_evaluator
