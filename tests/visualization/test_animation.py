"""Videos: frames are what stills show, files are what players read."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from mmdet3d.registry import DATASETS
from mmengine.structures import InstanceData
from PIL import Image

from tests.scenes import write_scenario
from tests.visualization.scenes import VIEW, make_scene, pixels
from turbotrain.datasets import build_infos, save_infos
from turbotrain.visualization import (
    AGENT_COLORS,
    BEVAnimation,
    draw_bev,
    first_agents,
    scene_of,
    write_video,
)
from turbotrain.visualization.bev import agent_colors

SIZE = (640, 360)


def scenes():
    scene = make_scene()
    nothing = np.zeros((0, 10))
    errors = dict(missed=np.arange(5) == 1, false_alarms=np.arange(5) == 3)
    return [
        scene,
        replace(scene, agents=scene.agents[:1], title='one'),
        replace(scene, gt_futures=None, polylines=np.zeros((0, 10, 7)), polyline_mask=nothing),
        replace(scene, **errors),
    ]


def test_frames_are_what_stills_show_whatever_was_drawn_before():
    animation = BEVAnimation(VIEW, SIZE)
    for scene in [*scenes(), *scenes()[::-1]]:
        frame = animation.frame(scene)
        still = pixels(draw_bev(scene, VIEW, SIZE)) * 255
        assert frame.dtype == np.uint8 and frame.shape == (360, 640, 3)
        assert np.abs(frame - still).max() <= 4


def test_an_agent_keeps_its_colour_while_others_come_and_go():
    scene, animation = scenes()[0], BEVAnimation(VIEW, SIZE)
    animation.frame(scene)
    fewer = replace(scene, agents=(scene.agents[0], *scene.agents[2:]))
    found = animation.frame(fewer).astype(int)
    alone = animation.frame(replace(scene, agents=scene.agents[:1])).astype(int)
    for agent, color in zip(scene.agents, AGENT_COLORS, strict=True):
        x, y = agent.ego_from_agent[:2, 3]
        column = round((x - VIEW[0]) / (VIEW[2] - VIEW[0]) * SIZE[0])
        place = (slice(100, 260), slice(column - 20, column + 20))
        rgb = np.array([round(255 * v) for v in to_rgb(color)])
        there = (np.abs(found[place] - rgb).max(axis=-1) < 12).sum()
        assert (there > 20) == (agent is not scene.agents[1]), agent.name
    assert np.abs(found - alone).max() > 50


def test_agents_in_one_picture_differ_whoever_was_there_before():
    scene, given = scenes()[0], {}
    agent_colors(scene, given)
    newcomer = replace(scene.agents[1], name='new')
    for agents in (scene.agents[:1], scene.agents[2:]):
        colors = agent_colors(replace(scene, agents=(*agents, newcomer)), given)
        assert len({*colors}) == len(colors)
        given.pop('new')
    many = [replace(scene.agents[0], name=f'agent {i}') for i in range(7)]
    assert len(agent_colors(replace(scene, agents=tuple(many)))) == 7


def test_errors_are_marked_where_they_are():
    plain, marked = scenes()[0], scenes()[-1]
    before, after = (pixels(draw_bev(scene, VIEW, (1600, 900))) for scene in (plain, marked))
    changed = np.abs(before - after).max(axis=2)[80:820] > 0.2
    rows, columns = np.nonzero(changed)
    x = VIEW[0] + columns / 1600 * (VIEW[2] - VIEW[0])
    places = np.array([plain.gt_boxes[1, 0], plain.pred_boxes[3, 0]])
    distance = np.abs(x[:, None] - places)
    assert (distance.min(axis=1) < 1.5).all()
    assert (distance < 1.5).any(axis=0).all()


@pytest.mark.parametrize('suffix', ['.mp4', '.gif'])
def test_files_hold_all_frames(tmp_path, suffix):
    shades = np.linspace(0, 250, 12).astype(np.uint8)
    frames = (np.full((90, 160, 3), [shade, 20, 250 - shade], np.uint8) for shade in shades)
    path = tmp_path / f'new/a{suffix}'
    write_video(path, frames, fps=5)
    if suffix == '.gif':
        with Image.open(path) as image:
            assert image.n_frames == 12 and image.info['duration'] == 200
            found = []
            for i in range(12):
                image.seek(i)
                found.append(np.asarray(image.convert('RGB')))
    else:
        video = cv2.VideoCapture(str(path))
        assert video.get(cv2.CAP_PROP_FPS) == 5
        found = [video.read()[1][..., ::-1] for _ in range(12)]
        assert not video.read()[0]
    for frame, shade in zip(found, shades, strict=True):
        assert np.abs(frame.astype(int) - [shade, 20, 250 - int(shade)]).max() < 16


def test_wrong_names_and_empty_videos_are_refused(tmp_path):
    with pytest.raises(ValueError, match="a.avi: expected one of .*got '.avi'"):
        write_video(tmp_path / 'a.avi', [], 5)
    with pytest.raises(ValueError, match='a.mp4: there is no frame'):
        write_video(tmp_path / 'a.mp4', [], 5)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('set')
    write_scenario(root, 'test', frames=range(0, 15, 5))
    save_infos(str(root / 'v2xpnp_infos_test.npz'), build_infos(str(root), 'test'))
    pipeline = [
        dict(type='LoadCooperativePoints'),
        dict(type='ProjectPointsToEgo'),
        dict(type='PackCooperativeInputs'),
    ]
    dataset = DATASETS.build(
        dict(type='V2XPnPDataset', ann_file='v2xpnp_infos_test.npz', data_root=str(root),
             num_history=1, pipeline=pipeline, test_mode=True)
    )  # fmt: skip
    return dataset[2]


def test_agents_that_have_not_joined_are_not_there(data):
    whole = data['data_samples'].agents
    assert len(whole) > 2 and whole.valid.all()
    for count in range(1, len(whole) + 1):
        own = first_agents(data, count)
        sample = own['data_samples']
        lengths = np.array(sample.num_points).reshape(whole.valid.shape)
        assert sample.agents.valid[:count].all() and not sample.agents.valid[count:].any()
        assert lengths[:count].sum() == lengths.sum() == len(own['inputs']['points']) > 0
        scene = scene_of(sample, list(own['inputs']['points'].split(sample.num_points)))
        assert len(scene.agents) == count
    assert data['data_samples'].agents is whole
    assert (own['inputs']['points'] == data['inputs']['points']).all()


def test_what_is_missed_and_what_is_not_there(data):
    """One object is not found, one is found twice, one as another class."""
    sample = data['data_samples'].clone()
    truth = sample.gt_instances_3d
    assert len(truth) >= 3
    rows = np.array([1, 1, 2, *range(3, len(truth))])
    boxes = truth.bboxes_3d[rows]
    scores = np.linspace(0.9, 0.5, len(rows))
    labels = truth.labels_3d[rows].clone()
    labels[2] = (labels[2] + 1) % 3
    scores[0] = 0.55 if len(rows) == 3 else 0.41
    sample.pred_instances_3d = InstanceData(
        bboxes_3d=boxes, labels_3d=labels, scores_3d=boxes.tensor.new_tensor(scores)
    )
    clouds = list(data['inputs']['points'].split(sample.num_points))
    scene = scene_of(sample, clouds)
    assert scene.missed.tolist() == [True, False, True, *[False] * (len(truth) - 3)]
    assert scene.false_alarms.tolist() == [True, False, True, *[False] * (len(rows) - 3)]
    sure = scene_of(sample, clouds, score_threshold=0.95)
    assert sure.missed.all() and not len(sure.false_alarms)
