"""What is drawn into cameras' pictures: lines where points project, nothing of what is behind."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from mmengine.structures import InstanceData
from scipy.spatial import cKDTree

import tools.visualize
from tests.cameras import write_pictures
from tests.commands import run_main
from tests.visualization.scenes import pixels
from turbotrain.datasets import V2XPnPDataset, build_infos, save_infos
from turbotrain.datasets.readers import DataFileError
from turbotrain.structures import NEAR, VEHICLE, ahead_part, corners_of, project, transform_points
from turbotrain.visualization import (
    CLASS_COLORS,
    AgentView,
    BEVScene,
    CameraScene,
    CameraView,
    camera_scene,
    draw_cameras,
)

CONFIG = Path(__file__).resolve().parents[2] / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py'
INTRINSICS = np.array([[160.0, 0.0, 155.0], [0.0, 160.0, 92.0], [0.0, 0.0, 1.0]])
# Ahead is along the ego's x, to the right along its negative y.
CAMERA_FROM_EGO = np.array([[0, -1, 0, 0.1], [0, 0, -1, -0.2], [1, 0, 0, -0.3], [0, 0, 0, 1.0]])
SIZE = (1280, 840)
GROUND = -1.8


def car(x: float, y: float, yaw: float = 0.0, z: float = GROUND) -> list[float]:
    return [x, y, z, 4.5, 2.0, 1.6, yaw]


def make_scene(gt=(), labels=0, pred=(), points=(), **above) -> CameraScene:
    """What one camera of the ego sees, in a black picture."""
    gt, pred = (np.reshape(boxes, (-1, 7)).astype(float) for boxes in (gt, pred))
    cloud = np.reshape(points, (-1, 3)).astype(np.float32)
    flat = [0, 1, 3, 4, 6]
    scene = BEVScene(
        'a',
        (AgentView('ego', VEHICLE, np.eye(4), cloud),),
        gt_boxes=gt[:, flat],
        pred_boxes=pred[:, flat],
        pred_scores=np.ones(len(pred)),
        **above,
    )
    picture = np.zeros((180, 320, 3), np.uint8)
    view = CameraView('cam1', 0, picture, INTRINSICS, CAMERA_FROM_EGO)
    return CameraScene(
        scene, (view,), ('car', 'person', 'truck'), gt, np.full(len(gt), labels), pred,
        np.zeros(len(pred), dtype=int),
    )  # fmt: skip


def drawn(scene: CameraScene, color: str = CLASS_COLORS[0]) -> np.ndarray:
    """Image points (P, 2) of the lines of a colour in the picture, below its name."""
    figure = draw_cameras(scene, SIZE)
    found, hue = pixels(figure), np.array(to_rgb(color))
    bright = found.max(-1, keepdims=True)
    of_color = np.abs(found / bright.clip(min=1e-3) - hue / hue.max()).max(-1) < 0.2
    rows, columns = np.nonzero(of_color & (bright[..., 0] > 0.35))
    image = image_points(figure, rows, columns)
    return image[((image > [-0.4, 12]) & (image < [319.4, 179.4])).all(1)]


def image_points(figure: Figure, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Where pixels of a figure are in the first picture."""
    spots = np.column_stack([columns + 0.5, figure.bbox.height - rows - 0.5])
    return figure.axes[0].transData.inverted().transform(spots)


def sampled(boxes: np.ndarray) -> np.ndarray:
    """Image points along all edges of boxes, by many points of each that are ahead."""
    corners = transform_points(CAMERA_FROM_EGO, corners_of(boxes))
    found = []
    for i in range(4):
        for one, other in ((i, (i + 1) % 4), (i + 4, (i + 1) % 4 + 4), (i, i + 4)):
            share = np.linspace(0, 1, 2000)[:, None]
            line = corners[:, one] + share * (corners[:, other] - corners[:, one])
            line = line[line[:, 2] > NEAR]
            found.append(project(INTRINSICS, line))
    image = np.concatenate(found)
    return image[((image > [0, 13]) & (image < [319, 179])).all(1)]


def distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(P,) from each point to the nearest of the others."""
    return cKDTree(others).query(points)[0]


def test_lines_end_where_the_camera_begins():
    rng = np.random.default_rng(0)
    lines = rng.uniform(-5, 5, (300, 2, 3))
    lines[0, 0, 2], lines[1, 1, 0] = np.nan, np.inf
    ends, kept = ahead_part(lines)
    ahead = (lines[..., 2] >= NEAR).any(1)
    ahead[:2] = False
    np.testing.assert_array_equal(kept, np.flatnonzero(ahead))
    assert (ends[..., 2] >= NEAR - 1e-9).all()
    for (a, b), (start, stop) in zip(lines[kept], ends, strict=True):
        points = a + np.linspace(0, 1, 50)[:, None] * (b - a)
        visible = points[points[:, 2] >= NEAR]
        share = (visible - start) @ (stop - start) / ((stop - start) ** 2).sum()
        assert (share > -1e-6).all() and (share < 1 + 1e-6).all()
        np.testing.assert_allclose(start + share[:, None] * (stop - start), visible, atol=1e-6)


@pytest.mark.parametrize(
    'box',
    [
        car(15.0, 1.0, 0.4),
        car(9.0, -5.0, 2.0),
        car(1.5, 2.5, np.pi),  # its front is behind the camera
        car(0.5, -2.2, 2.6),
        car(2.0, 3.5, -2.9),
    ],
)
def test_boxes_have_their_edges_where_these_project(box):
    expected, found = sampled(np.array([box])), drawn(make_scene([box]))
    assert len(expected) > 50 and len(found) > 50
    assert distances(found, expected).max() < 1.5
    assert distances(expected, found).max() < 1.5


def test_what_is_behind_or_beside_is_not_drawn():
    empty = pixels(draw_cameras(make_scene(), SIZE))
    boxes = [car(-12.0, 1.0), car(-3.0, -2.0, 1.0), car(4.0, 30.0), car(-1.0, 40.0, 0.7)]
    ways = np.array(boxes)[:, None, :2] + np.arange(1, 7)[:, None] * [-1.0, 0.0]
    scene = make_scene(boxes, gt_futures=ways)
    assert not len(drawn(scene))
    full = pixels(draw_cameras(scene, SIZE))
    assert (full[80:760] == empty[80:760]).all()
    own = make_scene([car(-0.6, 0.1, 0.02, -2.3)])  # the ego's LiDAR is above it
    assert not len(drawn(own))


def test_colours_tell_classes_and_the_front_is_filled():
    boxes = [car(14.0, 5.0, np.pi), car(14.0, -5.0, np.pi)]
    scene = make_scene(boxes, labels=[1, 2])
    for place, kind in enumerate((1, 2)):
        found = drawn(scene, CLASS_COLORS[kind])
        assert distances(found, sampled(np.array([boxes[place]]))).max() < 1.5
    turned = make_scene([car(14.0, 5.0, 0.0)], labels=[1])
    face = np.array([[11.75, 5.0, GROUND + 0.8]])  # the one that is nearer
    u, v = project(INTRINSICS, transform_points(CAMERA_FROM_EGO, face))[0]
    shades = []
    for each in (scene, turned):
        figure = draw_cameras(each, SIZE)
        x, y = figure.axes[0].transData.transform([u, v]).astype(int)
        shades.append(pixels(figure)[SIZE[1] - y, x].max())
    assert shades[0] > 0.2 > shades[1]


@pytest.mark.parametrize('rise', [0.0, 0.06])
def test_paths_lie_on_the_ground(rise):
    """Also where it rises, as the bottoms of boxes tell; gaps stay open, the likeliest is drawn."""

    def ground(x: float, y: float) -> float:
        return GROUND + rise * (x - 10.0) - 0.3 * rise * y

    places = [(10.0, 3.0), (12.0, -3.0), (24.0, 6.0), (20.0, -7.0), (30.0, 1.0)]
    boxes = [car(x, y, 0.3, ground(x, y)) for x, y in places]
    steps = np.arange(1, 7)[:, None] * [2.0, -1.6]
    straight = np.array(places)[:, None] + steps
    straight[1:] = np.nan
    straight[0, 2:4] = np.nan
    others = np.array(places)[:, None] + np.arange(1, 7)[:, None] * [2.0, 1.6]
    without = drawn(make_scene(pred=boxes))
    scene = make_scene(
        pred=boxes,
        pred_futures=np.stack([others, straight], axis=1),
        pred_mode_scores=np.tile([0.2, 0.8], (5, 1)),
    )
    found = drawn(scene)
    added = found[distances(found, without) > 1.5]
    line = np.concatenate(
        [np.linspace(a, b, 200) for a, b in (
            (places[0], straight[0, 0]), (straight[0, 0], straight[0, 1]),
            (straight[0, 4], straight[0, 5]),
        )]
    )  # fmt: skip
    way = np.column_stack([line, [ground(*place) for place in line]])
    image = project(INTRINSICS, transform_points(CAMERA_FROM_EGO, way))
    assert len(added) > 20
    assert distances(added, image).max() < 1.5
    ahead = image[distances(image, without) > 3]
    assert distances(ahead, found).max() < 1.5


def test_points_are_where_they_project_coloured_by_distance():
    places = np.array([[6.0, 1.0, -1.0], [40.0, -6.0, 1.0], [-9.0, 0.0, 0.0], [np.nan, 0.0, 0.0]])
    scene = make_scene(points=places)
    figures = [draw_cameras(scene, SIZE, points) for points in (False, True)]
    before, after = map(pixels, figures)
    rows, columns = np.nonzero(np.abs(before - after).max(-1)[:760] > 0.1)
    image = image_points(figures[1], rows, columns)
    expected = project(INTRINSICS, transform_points(CAMERA_FROM_EGO, places[:2]))
    assert distances(image, expected).max() < 1 and distances(expected, image).max() < 1
    assert len({tuple(color) for color in after[rows, columns].round(1)}) > 1


def test_every_camera_has_its_name_and_its_place():
    scene = make_scene()
    view, height = scene.views[0], 0
    tall = replace(view, name='cam$2', image=np.zeros((300, 200, 3), np.uint8))
    for count in (1, 3, 12):
        figure = draw_cameras(replace(scene, views=(tall, *[view] * (count - 1))), SIZE)
        boxes = [axes.get_position() for axes in figure.axes]
        assert len(boxes) == count
        names = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert names == ['ego · cam$2', *['ego · cam1'] * (count - 1)]
        for i, one in enumerate(boxes):
            assert 0 <= one.x0 < one.x1 <= 1 and 0 <= one.y0 < one.y1 <= 1
            for other in boxes[:i]:
                assert one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or (
                    other.y1 <= one.y0
                )  # fmt: skip
        height = height or boxes[0].height
        assert boxes[0].height <= height


def test_sure_detections_are_there_with_their_classes(recorded):
    opened = V2XPnPDataset(
        'v2xpnp_infos_test.npz', str(recorded), num_history=0, test_mode=True, pipeline=[
            dict(type='LoadCooperativePoints'), dict(type='PackCooperativeInputs'),
        ],
    )  # fmt: skip
    data = opened[0]
    sample = data['data_samples']
    boxes = sample.gt_instances_3d.bboxes_3d
    sample.pred_instances_3d = InstanceData(
        bboxes_3d=boxes[[0, 0, 0]],
        scores_3d=torch.tensor([0.9, 0.2, 0.4]),
        labels_3d=torch.tensor([2, 0, 1]),
    )
    clouds = list(data['inputs']['points'].split(sample.num_points))
    scene = camera_scene(sample, clouds, opened.metainfo['classes'], opened.infos.dialect)
    assert scene.pred_labels.tolist() == [2, 1] and scene.classes[0] == 'vehicle'
    np.testing.assert_allclose(scene.pred_boxes, scene.gt_boxes[[0, 0]])
    assert [(view.agent, view.name) for view in scene.views] == [
        *((0, f'cam{i}') for i in range(1, 5)), (1, 'cam1'), (1, 'cam2'),
    ]  # fmt: skip
    for picture in recorded.glob('train/*/*/*.jpeg'):
        picture.unlink()
    with pytest.raises(DataFileError, match='_cam1.jpeg: is missing'):
        camera_scene(sample, clouds, opened.metainfo['classes'], opened.infos.dialect)


@pytest.fixture
def recorded(tmp_path) -> Path:
    write_pictures(tmp_path / 'set')
    infos = build_infos(str(tmp_path / 'set'), 'train')
    save_infos(str(tmp_path / 'set/v2xpnp_infos_test.npz'), infos)
    return tmp_path / 'set'


def test_the_command_draws_labels_without_a_checkpoint(recorded, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # the command changes it
    root = f'test_dataloader.dataset.data_root={recorded}'
    out = tmp_path / 'new/c.png'
    words = CONFIG, '--cameras', '--points', '--out', out, '--cfg-options', root
    assert run_main(tools.visualize, monkeypatch, *words) == 0
    assert 'frame 4, sample 0 of 1' in capsys.readouterr().out
    whole = cv2.imread(str(out))
    assert whole.shape == (900, 1600, 3) and whole.std() > 20
    pictures = sorted(recorded.glob('train/*/*/*.jpeg'))
    pictures[0].write_bytes(b'')
    film = [*words[:-3], tmp_path / 'c.mp4', *words[-2:]]
    with pytest.warns(UserWarning, match=f'{pictures[0].name}: is no whole JPEG.*is left out'):
        assert run_main(tools.visualize, monkeypatch, *film) == 0
    (shown, frame), (more, _) = map(cv2.VideoCapture.read, [cv2.VideoCapture(str(film[-3]))] * 2)
    assert shown and not more and frame.shape == whole.shape
    assert np.abs(frame.astype(int) - whole).mean() > 5, 'the camera left its place to others'
    for given, said in (
        (['--points'], 'go with --cameras'),
        (['--cameras', '--join'], 'neither with --reconstruction nor with --join'),
        (['--reconstruction'], 'goes with a pretraining config and its checkpoint'),
    ):
        refused = run_main(tools.visualize, monkeypatch, CONFIG, *given, '--cfg-options', root)
        assert said in refused
