from functools import partial

import numpy as np
import pytest
import torch

from turbotrain.models import warp_bev, warp_by_flow
from turbotrain.structures import pose_to_matrix

RANGE = [-16.0, -8.0, -3.0, 16.0, 8.0, 1.0]
CELL = 0.5


def gaussians(centres: np.ndarray, width: float = 1.5) -> torch.Tensor:
    """A smooth map with a bump at each point: (1, H, W), cell centres at half cells."""
    y = np.arange(RANGE[1] + CELL / 2, RANGE[4], CELL)
    x = np.arange(RANGE[0] + CELL / 2, RANGE[3], CELL)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    distance = ((grid[:, :, None] - centres) ** 2).sum(-1)
    return torch.from_numpy(np.exp(-distance / (2 * width**2)).sum(-1)).float()[None]


@pytest.mark.parametrize('pose', [[0, 0, 0, 0, 0, 0], [3.3, -1.7, 0, 0, 0, 0], [1, 2, 0, 0, 35, 0]])
def test_equals_rasterising_the_moved_points(pose):
    matrix = pose_to_matrix(pose)
    points = np.random.default_rng(0).uniform([-8, -4], [8, 4], (6, 2))
    moved = points @ matrix[:2, :2].T + matrix[:2, 3]
    source, expected = gaussians(points), gaussians(moved)
    warped, seen = warp_bev(source[None], torch.from_numpy(matrix)[None], RANGE)
    error = ((warped[0] - expected) * seen[0]).abs().max()
    assert error < 0.04
    # The tolerance would notice a shift of half a cell.
    half = gaussians(moved + [CELL / 2, 0])
    assert ((half - expected) * seen[0]).abs().max() > 0.06


def test_the_peak_moves_to_the_right_cell():
    matrix = pose_to_matrix([2.0, -3.0, 0, 0, 90, 0])
    source = torch.zeros(1, 1, 32, 64)
    source[0, 0, 20, 40] = 1  # x = 4.25, y = 2.25
    warped, _ = warp_bev(source, torch.from_numpy(matrix)[None], RANGE)
    x, y = -2.25 + 2.0, 4.25 - 3.0
    row, column = int((y + 8) / CELL), int((x + 16) / CELL)
    assert warped[0, 0, row, column] == pytest.approx(1.0, abs=1e-4)


def test_unseen_cells_are_zero_and_said_so():
    matrix = torch.from_numpy(pose_to_matrix([10.0, 0, 0, 0, 0, 0]))[None]
    warped, seen = warp_bev(torch.ones(1, 2, 32, 64), matrix, RANGE)
    assert not seen[0, 0, :, :20].any()
    assert seen[0, 0, :, 20:].all()
    assert not warped[:, :, :, :20].any()


def test_there_and_back():
    smooth = gaussians(np.array([[0.0, 0.0], [3.0, 2.0]]), width=2.5)[None]
    matrix = torch.from_numpy(pose_to_matrix([1.3, 0.4, 0, 0, 20, 0]))[None]
    there, _ = warp_bev(smooth, matrix, RANGE)
    back, seen = warp_bev(there, torch.linalg.inv(matrix), RANGE)
    inner = (slice(None), slice(None), slice(8, 24), slice(16, 48))
    torch.testing.assert_close(back[inner], smooth[inner], atol=0.03, rtol=0)


@pytest.mark.parametrize('pose', [[0, 0, 0, 0, 0, 0], [3.3, -1.7, 0, 0, 35, 0]])
def test_places_are_exact_in_mixed_precision(pose):
    source = gaussians(np.array([[5.0, 2.0], [-7.0, -3.0]]))[None]
    matrix = torch.from_numpy(pose_to_matrix(pose))[None]
    still = torch.zeros(1, 2, *source.shape[2:])
    for warp in (partial(warp_bev, source, matrix), partial(warp_by_flow, source, still + 0.4)):
        exact, seen = warp(RANGE)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            found, also_seen = warp(RANGE)
        assert torch.equal(found, exact) and torch.equal(also_seen, seen)
    half, _ = warp_bev(source.bfloat16(), torch.eye(4, dtype=torch.float64)[None], RANGE)
    torch.testing.assert_close(half, source.bfloat16(), atol=1e-2, rtol=0)


def test_an_unknown_pose_shows_nothing():
    matrix = torch.from_numpy(pose_to_matrix([[0.0] * 6, [1.0, 0, 0, 0, 0, 0]]))
    matrix[1] = torch.nan
    warped, seen = warp_bev(torch.ones(2, 3, 32, 64), matrix, RANGE)
    assert seen[0].all() and warped[0].eq(1).all()
    assert not seen[1].any() and not warped[1].any()
