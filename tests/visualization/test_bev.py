"""The picture from above: its size, its colours, where things are drawn, and its errors."""

from dataclasses import replace

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tests.visualization.scenes import VIEW, make_scene, pixels
from turbotrain.structures import VEHICLE
from turbotrain.visualization import (
    AGENT_COLORS,
    AgentView,
    BEVScene,
    draw_bev,
    save_figure,
)

ORANGE, WHITE, VELOCITY = '#FF5F2E', '#F2F5F8', '#FFC2A3'


def near(image, color, tolerance=0.06):
    """(H, W) bool: pixels of about this colour."""
    return (np.abs(image - to_rgb(color)) < tolerance).all(axis=-1)


@pytest.mark.parametrize('size', [(1600, 900), (800, 600), (641, 479)])
def test_picture_has_the_size_asked_for(tmp_path, size):
    path = tmp_path / 'new' / 'scene.png'
    save_figure(draw_bev(make_scene(), VIEW, size), path)
    assert path.read_bytes().startswith(b'\x89PNG')
    assert matplotlib.image.imread(path).shape[:2] == size[::-1]


def test_every_agent_has_its_colour_where_its_points_are():
    """Half of the block's area at least, in the right place and nowhere near the others."""
    scene = make_scene()
    figure = draw_bev(replace(scene, gt_boxes=scene.gt_boxes[:0], gt_pasts=None, gt_futures=None))
    axes = figure.axes[0]
    image = pixels(figure)
    for agent, color in zip(scene.agents, AGENT_COLORS, strict=True):
        hits = near(image, color, tolerance=0.2)
        low, high = agent.points[:, :2].min(0), agent.points[:, :2].max(0)
        (x0, y0), (x1, y1) = axes.transData.transform([low, high]).round().astype(int)
        block = hits[len(image) - y1 : len(image) - y0, x0:x1]
        assert block.mean() > 0.3
        for other in AGENT_COLORS:
            if other != color:
                assert (
                    near(image, other, 0.2)[len(image) - y1 : len(image) - y0, x0:x1].mean() < 0.01
                )


def test_boxes_are_drawn_where_they_are():
    """One box each, alone in the picture: its outline passes through the middle of its sides."""
    for key, color in (('gt_boxes', WHITE), ('pred_boxes', ORANGE)):
        box = np.array([[5.0, -3.0, 20.0, 10.0, np.pi / 6]])
        fields = {key: box} | ({'pred_scores': np.ones(1)} if key == 'pred_boxes' else {})
        figure = draw_bev(BEVScene('box', (), **fields), VIEW)
        image = pixels(figure)
        forward = 10.0 * np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])
        x, y = figure.axes[0].transData.transform([5.0, -3.0] + forward).round().astype(int)
        row = len(image) - y
        assert near(image, color, 0.25)[row - 3 : row + 3, x - 3 : x + 3].any()


def test_opacity_follows_the_score():
    box = np.array([[0.0, 0.0, 10.0, 5.0, 0.0]])
    bright, faint = (
        pixels(draw_bev(BEVScene('', (), pred_boxes=box, pred_scores=np.array([score])), VIEW))
        for score in (1.0, 0.1)
    )
    middle = np.s_[200:700, 400:1200, 0]
    assert bright[middle].sum() > faint[middle].sum()


def test_every_mode_is_drawn_and_the_likeliest_strongest():
    """Three modes fan out from a box; each shows at its end, as bright as it is likely."""
    ends = np.array([[12.0, 8.0], [14.0, 0.0], [12.0, -8.0]])
    scene = BEVScene(
        '', (), pred_boxes=np.array([[0.0, 0.0, 4.0, 2.0, 0.0]]), pred_scores=np.ones(1),
        pred_futures=(np.linspace(1 / 6, 1, 6)[:, None] * ends[:, None])[None],
        pred_mode_scores=np.array([[0.3, 0.6, 0.1]]),
    )  # fmt: skip
    figure = draw_bev(scene, VIEW)
    image = pixels(figure)
    brightness = []
    for x, y in ends * 0.8:
        column, row = figure.axes[0].transData.transform([x, y]).round().astype(int)
        patch = image[len(image) - row - 4 : len(image) - row + 4, column - 4 : column + 4]
        brightness.append(np.abs(patch - image[0, 0]).max())
    assert brightness[1] > brightness[0] > brightness[2] > 0.05


def test_an_arrow_shows_the_way_of_one_second():
    """From the box to where it would be, in any direction; what stands has none."""
    ways = np.array([[15.0, 6.0], [-12.0, 5.0], [0.0, 0.0]])
    boxes = np.array([[6.0, 0.0], [-6.0, 0.0], [0.0, -10.0]])
    fields = dict(
        pred_boxes=np.column_stack([boxes, np.tile([4.0, 2.0, 0.0], (3, 1))]),
        pred_scores=np.ones(3),
    )
    plain, drawn = (
        draw_bev(BEVScene('', (), pred_velocities=velocities, **fields), VIEW)
        for velocities in (None, ways)
    )
    added = near(pixels(drawn), VELOCITY, 0.2) & ~near(pixels(plain), VELOCITY, 0.2)

    def touched(x, y):
        column, row = drawn.axes[0].transData.transform([x, y]).round().astype(int)
        row = len(added) - row
        return added[row - 3 : row + 3, column - 3 : column + 3].any()

    for box, way in zip(boxes[:2], ways[:2], strict=True):
        assert touched(*(box + 0.6 * way))
        assert touched(*(box + 0.99 * way))
        assert not touched(*(box + 1.1 * way))
    rows, columns = np.nonzero(added[:800])  # the legend lies below
    where = drawn.axes[0].transData.inverted().transform(np.stack([columns, len(added) - rows], 1))
    assert len(where)
    assert (np.linalg.norm(where - boxes[2], axis=1) > 5).all()


def test_view_range_keeps_its_proportions():
    axes = draw_bev(BEVScene('', ()), VIEW, (900, 900)).axes[0]
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    assert x0 <= -40 < 40 <= x1
    assert y0 <= -20 < 20 <= y1
    extent = axes.get_window_extent()
    assert (x1 - x0) / (y1 - y0) == pytest.approx(extent.width / extent.height)


def test_deterministic_and_leaves_matplotlib_alone():
    backend, settings = matplotlib.get_backend(), dict(matplotlib.rcParams)
    first, second = (pixels(draw_bev(make_scene(), VIEW, (640, 360))) for _ in range(2))
    assert (first == second).all()
    assert matplotlib.get_backend() == backend
    assert dict(matplotlib.rcParams) == settings


def test_points_that_are_not_finite_are_left_out():
    scene = make_scene()
    ego = scene.agents[0]
    with_nan = replace(ego, points=np.concatenate([ego.points, np.full((5, 4), np.nan, 'f4')]))
    pictures = [
        pixels(draw_bev(replace(scene, agents=(agent,)), VIEW, (640, 360)))[60:300]
        for agent in (ego, with_nan)
    ]
    assert (pictures[0] == pictures[1]).all()


def test_more_agents_than_colours():
    scene = make_scene()
    draw_bev(replace(scene, agents=scene.agents * 2), VIEW, (640, 360))


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('gt_boxes', np.zeros((2, 7)), r'gt_boxes has shape \(2, 7\), expected \(2, 5\)'),
        ('gt_futures', np.zeros((2, 6, 2)), r'gt_futures has shape .* expected \(5,'),
        ('pred_scores', np.zeros(3), r'pred_scores has shape \(3,\), expected \(5,\)'),
        ('pred_mode_scores', np.zeros((5, 3)), r'pred_mode_scores .* expected \(5, 2\)'),
        ('polyline_mask', np.zeros((3, 9)), r'polyline_mask .* expected \(3, 10\)'),
    ],
)
def test_wrong_shape_is_named(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(make_scene(), **{field: value})


def test_wrong_agent_and_wrong_view_are_named():
    with pytest.raises(ValueError, match="agent 'x': kind"):
        AgentView('x', 7, np.eye(4))
    with pytest.raises(ValueError, match="agent 'x': ego_from_agent"):
        AgentView('x', VEHICLE, np.eye(3))
    with pytest.raises(ValueError, match="agent 'x': points"):
        AgentView('x', VEHICLE, np.eye(4), np.zeros((5, 2)))
    with pytest.raises(ValueError, match='view_range'):
        draw_bev(BEVScene('', ()), (10, 0, -10, 5))


def test_cut_lanes_are_drawn_whole():
    """A line cut into two polylines shows no gap; two lines side by side stay apart."""
    scene = make_scene()
    polylines = scene.polylines.copy()
    polylines[:, :, 6] = 5
    polylines[0, :, 0] = np.linspace(-30, 0, 10)
    polylines[1, :, 0] = np.linspace(3.3, 33.3, 10)
    polylines[:2, :, 1], polylines[2, :, 1] = 0.0, 9.0
    figure = draw_bev(
        BEVScene('', (), polylines=polylines, polyline_mask=scene.polyline_mask), VIEW
    )
    image = pixels(figure)
    background = image[0, 0]

    def drawn(x, y):
        column, row = figure.axes[0].transData.transform([x, y]).round().astype(int)
        patch = image[len(image) - row - 3 : len(image) - row + 3, column - 1 : column + 2]
        return (np.abs(patch - background) > 0.05).any()

    assert drawn(-15.0, 0.0)
    assert drawn(1.65, 0.0)
    assert not drawn(34.5, 4.0)


def test_polylines_have_any_number_of_points():
    """A straight line of four points is drawn as one of ten; what is masked does not count."""
    scene = make_scene()
    few = scene.polylines[:, [0, 3, 6, 9]]
    padded = np.concatenate([few, np.full((3, 1, 7), 50.0)], axis=1)
    images = [
        pixels(draw_bev(BEVScene('', (), polylines=lines, polyline_mask=mask), VIEW))
        for lines, mask in (
            (scene.polylines, scene.polyline_mask),
            (few, np.ones((3, 4))),
            (padded, np.arange(5) < np.full((3, 1), 4)),
        )
    ]
    assert (images[0] == images[1]).all() and (images[1] == images[2]).all()
    assert (images[0] != pixels(draw_bev(BEVScene('', ()), VIEW))).any()
