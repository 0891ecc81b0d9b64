"""Four panels that show what they say, where it is."""

import matplotlib.image
import numpy as np
from matplotlib.colors import to_rgb

from turbotrain.visualization import (
    AGENT_COLORS,
    draw_reconstruction,
    save_figure,
)

ORANGE, WHITE = '#FF5F2E', '#F2F5F8'
VIEW = (-40.0, -20.0, 40.0, 20.0)


def wall(x, y, count=20_000):
    rng = np.random.default_rng(0)
    points = rng.uniform([x - 4, y - 4, 0.0], [x + 4, y + 4, 3.0], (count, 3))
    points[0, 2] = -1.0
    return points


def pictured(tmp_path, **changes):
    """Two agents x two frames; the second agent's current wall is hidden."""
    clouds = [wall(-30, -10), wall(-10, -10), wall(10, 10), wall(30, 10)]
    hidden = [np.zeros(len(cloud), dtype=bool) for cloud in clouds]
    hidden[3][:] = True
    scene = dict(
        clouds=clouds,
        hidden=hidden,
        current=[1, 3],
        predicted=wall(30, 10) + [0, -20, 0],
        truth=wall(30, 10),
    )
    figure = draw_reconstruction(**scene | changes, view_range=VIEW, title='scenario')
    save_figure(figure, tmp_path / 'a.png')
    image = matplotlib.image.imread(tmp_path / 'a.png')[..., :3]
    height, width = image.shape[0] // 2, image.shape[1] // 2
    assert width == 800 and height == 400 + 34
    parts = [image[r * height :, c * width :][:height, :width] for r in (0, 1) for c in (0, 1)]
    return [part[34:] for part in parts]


def covers(panel, x, y, color) -> bool:
    """Whether the metres round a place have a colour."""
    column, row = int((x + 40) * 10), int((20 - y) * 10)
    patch = panel[row - 20 : row + 20, column - 20 : column + 20].reshape(-1, 3)
    return bool((np.abs(patch.mean(0) - to_rgb(color)) < 0.2).all())


def test_each_panel_shows_its_part(tmp_path):
    everything, masked, found, truth = pictured(tmp_path)
    for x in (-30, -10):
        assert covers(everything, x, -10, AGENT_COLORS[0]) and covers(
            masked, x, -10, AGENT_COLORS[0]
        )
    assert covers(everything, 10, 10, AGENT_COLORS[1]) and covers(
        everything, 30, 10, AGENT_COLORS[1]
    )
    assert covers(masked, 10, 10, AGENT_COLORS[1]) and not covers(masked, 30, 10, AGENT_COLORS[1])
    assert covers(found, 30, -10, ORANGE) and not covers(found, 30, 10, ORANGE)
    assert covers(truth, 30, 10, WHITE) and not covers(truth, 30, -10, WHITE)
    # The past is input alone.
    assert not covers(found, -30, -10, '#5B6675') and covers(found, -10, -10, '#5B6675')


def test_nothing_at_all_can_be_drawn(tmp_path):
    none = np.zeros((0, 3))
    mask = np.zeros(0, dtype=bool)
    nothing = dict(clouds=[none], hidden=[mask], current=[0], predicted=none, truth=none)
    panels = pictured(tmp_path, **nothing)
    assert all(panel.max() < 0.2 for panel in panels)
