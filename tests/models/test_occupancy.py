import numpy as np
import pytest
import torch

from turbotrain.errors import SettingError
from turbotrain.models.occupancy import OccupancyGrid, likeness

RANGE, CELL = [-4.0, -2.0, -1.0, 4.0, 2.0, 1.0], [0.5, 0.5, 0.25]
LEVELS = (0.25, 0.75, 1.5)


def cloud(seed: int, count: int) -> torch.Tensor:
    """Points of which some lie outside, none on the border of a cell."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-5, -3, -1.5, 0], [5, 3, 1.5, 1], (count, 4))
    points[:, :3] = np.floor(points[:, :3] / 0.125) * 0.125 + 0.0625
    return torch.from_numpy(points).float()


def occupied(points: np.ndarray, corner: np.ndarray, bottom: float, top: float) -> bool:
    """Whether a column of the grid holds a point between two heights."""
    inside = (points >= np.array(RANGE[:3])) & (points < np.array(RANGE[3:]))
    points = points[inside.all(axis=1)]
    at = (points[:, :2] >= corner) & (points[:, :2] < corner + 0.5)
    return bool((at.all(axis=1) & (points[:, 2] >= bottom) & (points[:, 2] < top)).any())


@pytest.mark.parametrize('height', [0.25, 0.03125, 0.0078125])  # one word, two, five
def test_crops_say_what_a_look_at_every_point_says(height):
    """Two samples of two agents and one, two frames; one crop hangs over the border."""
    grid = OccupancyGrid(RANGE, [*CELL[:2], height])
    clouds = [cloud(i, n) for i, n in enumerate((40, 60, 0, 50, 70, 30))]
    maps = grid(clouds, None, torch.tensor([0, 0, 1]), 2)
    centres = torch.tensor([[0.3, 0.2, -1.0], [3.9, -1.9, -0.75], [-1.1, 0.6, -0.5]])
    crops = maps.crop(centres, torch.tensor([0, 1, 1]), 4, LEVELS)
    assert crops.shape == (3, 2, 2, 4, 4)
    of_sample = {0: [(0, 2), (1, 3)], 1: [(4,), (5,)]}  # clouds of each frame
    for m, place in enumerate((0, 1, 1)):
        low = np.floor((centres[m, :2].numpy() - RANGE[:2]) / 0.5) * 0.5 + RANGE[:2] - 1.0
        for t in range(2):
            points = np.concatenate([clouds[i][:, :3].numpy() for i in of_sample[place][t]])
            for layer in range(2):
                bottom, top = (centres[m, 2].item() + LEVELS[layer + i] for i in (0, 1))
                for row in range(4):
                    for column in range(4):
                        corner = low + 0.5 * np.array([column, row])
                        wanted = occupied(points, corner, bottom, top)
                        assert crops[m, t, layer, row, column] == wanted
    assert crops.sum() > 5


def test_a_square_that_moves_is_in_each_frame_where_one_that_stays_there_is():
    grid = OccupancyGrid(RANGE, CELL)
    maps = grid([cloud(i, 80) for i in range(3)], None, torch.zeros(1, dtype=torch.long), 1)
    centres, places = torch.tensor([[0.3, 0.2, -1.0], [-2.1, 0.6, -0.5]]), torch.tensor([0, 0])
    moves = torch.tensor([[2, -1], [-3, 1]])
    found = maps.crop(centres, places, 5, LEVELS, moves)
    for t in range(3):
        there = centres.clone()
        there[:, :2] -= (2 - t) * 0.5 * moves
        assert torch.equal(found[:, t], maps.crop(there, places, 5, LEVELS)[:, t])
    assert not torch.equal(found, maps.crop(centres, places, 5, LEVELS))


def test_clouds_in_their_agents_frames_are_brought_into_the_grid():
    """The same points, said from poses that lie elsewhere, fill the same cells."""
    grid = OccupancyGrid(RANGE, CELL)
    clouds = [cloud(i, 50) for i in range(4)]
    expected = grid(clouds, None, torch.tensor([0, 0]), 1).columns
    motions = torch.eye(4, dtype=torch.float64).repeat(2, 2, 1, 1)
    for n in range(2):
        for t in range(2):
            angle = torch.tensor(0.4 + n + 2 * t, dtype=torch.float64)
            motions[n, t, :2, :2] = torch.tensor(
                [[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]]
            )
            motions[n, t, :3, 3] = torch.tensor([3.0, -1.0 - n, 0.5 * t])
    own = [
        torch.cat(
            [
                (points[:, :3].double() - m[:3, 3]) @ m[:3, :3],
                points[:, 3:].double(),
            ],
            dim=1,
        )
        for points, m in zip(clouds, motions.flatten(0, 1), strict=True)
    ]
    found = grid(own, motions, torch.tensor([0, 0]), 1).columns
    assert torch.equal(found, expected)


def test_an_object_is_found_again_where_it_was():
    """Two objects of two layers, each with a way of its own; what is not theirs does not count."""
    generator = torch.Generator().manual_seed(0)
    shape = (torch.rand(2, 2, 3, 3, generator=generator) < 0.6).float()
    ways = [[(2, -1), (1, 0)], [(-3, 0), (-1, 2)]]  # rows and columns, at two times
    squares = torch.zeros(2, 3, 2, 11, 11)
    for m in range(2):
        for t, (row, column) in enumerate([*ways[m], (0, 0)]):
            squares[m, t, :, 4 + row : 7 + row, 4 + column : 7 + column] = shape[m]
    objects = torch.zeros(2, 5, 5, dtype=torch.bool)
    objects[:, 1:4, 1:4] = True
    expected = likeness(squares, objects)
    assert expected.shape == (2, 2, 7, 7)
    for m in range(2):
        for t in range(2):
            best = expected[m, t].argmax().item()
            assert (best // 7 - 3, best % 7 - 3) == ways[m][t]
            assert expected[m, t].max() == 1
    squares[:, -1, :, 3, 3] = 1  # beside the object
    torch.testing.assert_close(likeness(squares, objects), expected)
    assert likeness(squares[:0], objects[:0]).shape == (0, 2, 7, 7)
    assert likeness(squares[:, -1:], objects).shape == (2, 0, 7, 7)


def test_a_message_names_each_occupied_cell_once():
    grid = OccupancyGrid(RANGE, CELL)  # 16 * 8 * 8 cells, 10 bits
    twice = torch.tensor([[0.1, 0.1, 0.1, 0], [0.2, 0.2, 0.2, 0], [9.0, 0, 0, 0]])
    other = torch.tensor([[1.1, 0.1, 0.1, 0], [0.1, 0.1, 0.1, 0]])
    clouds = [twice, other, other[:0], other[:0]]
    assert grid.message_bytes(clouds, None, 2) == [4, 0]  # three cells, 30 bits


@pytest.mark.parametrize('cell', [[0.3, 0.5, 0.25], [0.5, 0.5, 0.3]])
def test_cells_that_do_not_fit_are_refused(cell):
    with pytest.raises(SettingError, match='occupancy cell'):
        OccupancyGrid(RANGE, cell)
