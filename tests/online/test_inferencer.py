import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

import tools.infer
from tests.commands import run_main
from tests.online.recordings import CONFIGS, moment_of, untrained
from tests.scenes import write_scenario
from turbotrain.commands import run_tool
from turbotrain.errors import CheckpointError, SettingError, UserError
from turbotrain.evaluation.predictions import read_predictions
from turbotrain.online import CooperativeInferencer, Moment
from turbotrain.online.samples import UnlabelledMoments
from turbotrain.structures import transform_points

NAMES = ('vehicle', 'pedestrian', 'truck')


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory) -> CooperativeInferencer:
    cfg, path = untrained('f-cooper', tmp_path_factory.mktemp('weights'))
    return CooperativeInferencer(cfg, path, 'cpu', show_progress=False)


@pytest.fixture(scope='module')
def moments(scenario) -> list[Moment]:
    return [moment_of(scenario, [1, 2, -1, -2], [*range(0, now, 5)]) for now in (11, 21, 26)]


def test_what_the_model_finds_comes_as_arrays_and_as_a_file(inferencer, moments, tmp_path):
    found = inferencer(moments, batch_size=2, out_dir=tmp_path)
    assert found['visualization'] == [] and len(found['predictions']) == 3
    pictures = sorted(path.name for path in (tmp_path / 'vis').iterdir())
    assert pictures == [f'{moments[0].scenario}_{frame:06d}_1.png' for frame in (10, 20, 25)]
    settings = inferencer.pipeline.settings
    written = list(read_predictions(tmp_path / 'predictions.jsonl', NAMES))
    for moment, told, line in zip(moments, found['predictions'], written, strict=True):
        sample = UnlabelledMoments(settings, 'v2xpnp', 0.5)(moment)
        with torch.no_grad():
            (expected,) = inferencer.model.test_step(pseudo_collate([sample]))
        wanted = expected.pred_instances_3d
        assert len(wanted) == 20 and wanted.velocity.norm(dim=1).median() > 0.3
        # A batch of two and one alone round differently.
        for key, value in (
            ('boxes', wanted.bboxes_3d.tensor), ('scores', wanted.scores_3d),
            ('velocity', wanted.velocity), ('trajectories', wanted.trajectories),
            ('trajectory_scores', wanted.trajectory_scores),
        ):  # fmt: skip
            np.testing.assert_allclose(told[key], value, atol=1e-4)
        assert told['labels'] == [NAMES[label] for label in wanted.labels_3d]
        assert (told['scenario'], told['ego']) == (moment.scenario, 1)
        assert told['frame'] == moment.frame == line['frame']
        assert told['message_bytes'] == line['message_bytes'] == expected.message_bytes
        np.testing.assert_array_equal(line['pred_instances_3d']['scores_3d'], told['scores'])
        boxes = line['pred_instances_3d']['bboxes_3d'].tensor
        np.testing.assert_array_equal(boxes, told['boxes'])


def test_the_world_is_where_the_ego_is(inferencer, moments):
    (ego,) = inferencer(moments[2])['predictions']
    (world,) = inferencer(moments[2], frame='world')['predictions']
    pose = world['world_from_ego']
    assert np.array_equal(pose, ego['world_from_ego'])
    boxes, half = ego['boxes'].astype(np.float64), ego['boxes'][:, 5] / 2
    middle = transform_points(pose, boxes[:, :3] + np.outer(half, [0, 0, 1]))
    np.testing.assert_allclose(world['boxes'][:, :3], middle - np.outer(half, [0, 0, 1]), atol=1e-6)
    nose = np.column_stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), 0 * half]) @ pose[:3, :3].T
    turned = np.arctan2(nose[:, 1], nose[:, 0]) - world['boxes'][:, 6]
    np.testing.assert_allclose(np.cos(turned), 1, atol=1e-9)
    speed = np.pad(ego['velocity'].astype(np.float64), ((0, 0), (0, 1))) @ pose[:3, :3].T
    np.testing.assert_allclose(world['velocity'], speed[:, :2], atol=1e-6)
    paths = ego['trajectories'].astype(np.float64)
    height = np.broadcast_to((boxes[:, 2] + half)[:, None, None, None], (*paths.shape[:3], 1))
    moved = transform_points(pose, np.concatenate([paths, height], axis=-1))
    np.testing.assert_allclose(world['trajectories'], moved[..., :2], atol=1e-6)


def test_arrays_may_lie_in_memory_column_by_column(inferencer, scenario):
    rows = moment_of(scenario, [1, 2, -1], [0, 5, 10], arrays=True)
    columns = [
        replace(agent, clouds=[np.asfortranarray(cloud) for cloud in agent.clouds])
        for agent in rows.agents
    ]
    (expected, found) = inferencer([rows, replace(rows, agents=columns)])['predictions']
    for key in ('boxes', 'scores', 'velocity', 'trajectories'):
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def test_scores_pictures_and_samples(inferencer, moments, monkeypatch):
    (told,) = inferencer(moments[1])['predictions']
    limit = float(np.sort(told['scores'])[-5])
    shown = []
    monkeypatch.setattr(inferencer.visualizer, 'show', lambda *args: shown.append(args))
    found = inferencer(
        moments[1], pred_score_thr=limit, return_vis=True, show=True, return_datasamples=True
    )
    (sample,), (picture,) = found['predictions'], found['visualization']
    assert isinstance(sample, Det3DDataSample) and len(sample.pred_instances_3d) == 5
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.std() > 1
    ((drawn, name, seconds),) = shown
    assert np.array_equal(drawn, picture) and seconds == 0 and name.endswith('_000020_1')


def test_every_method_is_asked_alike(moments, tmp_path):
    """Agents' own clouds, merged ones, and the ego alone."""
    for method, ids in (('late-fusion', 4), ('early-fusion', 1), ('no-fusion', 1)):
        cfg, path = untrained(method, tmp_path)
        inferencer = CooperativeInferencer(cfg, path, 'cpu', show_progress=False)
        (sample,) = inferencer(moments[2], return_datasamples=True)['predictions']
        assert len(sample.agents) == ids and len(sample.pred_instances_3d)


def test_bad_arguments_are_named(inferencer, moments, tmp_path):
    for inputs, words in (([], 'an empty list'), (['a.pcd'], "got \\['str'\\]")):
        with pytest.raises(SettingError, match=f'expected a Moment, a list .* {words}'):
            inferencer(inputs)
    for settings, words in (
        (dict(frame='map'), "frame: expected one of \\('ego', 'world'\\), got 'map'"),
        (dict(batch_size=0), 'batch_size: expected 1 or more'),
        (dict(colour=1), 'unknown argument'),
    ):
        with pytest.raises(ValueError, match=words):
            inferencer(moments[0], **settings)
    with pytest.raises(UserError, match="there is no config 'nowhere.py'"):
        CooperativeInferencer('nowhere.py', 'a.pth')
    cfg, path = untrained('f-cooper', tmp_path)
    with pytest.raises(SettingError, match='max_delay: expected seconds'):
        CooperativeInferencer(cfg, path, max_delay=-1.0)
    with pytest.raises(CheckpointError, match='is of another model than the config'):
        CooperativeInferencer(CONFIGS / 'v2vnet_mini_v2xpnp.py', path)
    cfg.test_dataloader.dataset.type = 'KittiDataset'
    with pytest.raises(SettingError, match='expected V2XPnPDataset, got'):
        CooperativeInferencer(cfg, path)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_scenario(tmp_path, agents=(1, -1), frames=range(0, 15, 5), objects=1)


@pytest.mark.parametrize('video', [False, True])
def test_a_folder_from_the_command_line(folder, tmp_path, monkeypatch, capsys, video):
    cfg, path = untrained('f-cooper', tmp_path)
    config = str(tmp_path / 'config.py')
    cfg.dump(config)
    out = tmp_path / 'out'
    monkeypatch.chdir(tmp_path)
    words = [config, path, folder, '--out', 'out', '--score', 0.01, '--batch-size', 4]
    assert run_main(tools.infer, monkeypatch, *words, *['--video'] * video) == 0
    assert '3/3' in capsys.readouterr().err
    lines = [json.loads(line) for line in (out / 'predictions.jsonl').read_text().splitlines()]
    assert [line['frame'] for line in lines[1:]] == [0, 5, 10]
    assert lines[0]['class_names'] == [*NAMES]
    names = {path.name for path in (out / 'vis').iterdir()}
    pictures = {f'{folder.name}_{frame:06d}_1.png' for frame in (0, 5, 10)}
    assert names == ({f'{folder.name}.mp4'} if video else pictures)


def test_an_interrupted_command_leaves_no_half_file(folder, tmp_path, monkeypatch):
    cfg, path = untrained('f-cooper', tmp_path)
    Config.dump(cfg, tmp_path / 'config.py')
    written = []

    def interrupt(clouds, samples, **settings):
        written.append(samples)
        if len(written) == 2:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(CooperativeInferencer, 'visualize', lambda self, *a, **k: interrupt(*a))
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'predictions.jsonl').write_text('old')
    words = [tmp_path / 'config.py', path, folder, '--out', out]
    monkeypatch.setattr('sys.argv', ['infer.py', *map(str, words)])
    with pytest.raises(SystemExit, match='error: interrupted'):
        run_tool(tools.infer.main)
    assert [path.name for path in out.iterdir()] == ['predictions.jsonl']
    assert (out / 'predictions.jsonl').read_text() == 'old'
