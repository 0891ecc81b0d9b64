"""The ground is found below objects, whatever its height and slope, without a label."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tests.models.methods import open_split
from turbotrain.pretraining.ground import ground_grid, heights_above_ground

CONFIG = Path(__file__).parents[2] / 'configs/turbotrain/mini/pretrain_mini_v2xpnp.py'
RANGE = [-48.0, -24.0, -20.0, 48.0, 24.0, 20.0]
CAR, PEDESTRIAN = 0, 1


def heights(points: torch.Tensor, sample: torch.Tensor | None = None) -> torch.Tensor:
    sample = torch.zeros(len(points), dtype=torch.long) if sample is None else sample
    shape = (int(sample.max()) + 1 if len(sample) else 1, *ground_grid(RANGE))
    return heights_above_ground(points, sample, torch.tensor(RANGE), shape)


def scene(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Level ground at 0 m, seen in rings, and things on it, which hide it.

    Returns:
        points: (P, 3).
        stands: (P,) bool, whether each is on a thing; all of these are 0.3 m and more above ground.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int, *spans: float) -> torch.Tensor:
        return (torch.rand(count, len(spans), generator=generator) - 0.5) * torch.tensor(spans)

    ground = torch.cat([draw(6000, 94, 46), 0.02 * torch.randn(6000, 1, generator=generator)], 1)
    things = []
    for centre in draw(40, 80, 40):
        size = [(4.7, 1.9, 1.3), (0.7, 0.7, 1.4), (11.0, 2.5, 2.5)][len(things) % 3]
        below = ((ground[:, :2] - centre).abs() < torch.tensor(size[:2]) / 2 + 0.4).all(dim=1)
        ground = ground[~below]
        things.append(draw(80, *size) + torch.cat([centre, torch.tensor([0.3 + size[2] / 2])]))
    # Rings as a LiDAR sees them: of 6 m of ground 4 m are empty.
    ground = ground[ground[:, :2].norm(dim=1) % 6 < 2]
    stands = torch.arange(len(ground) + 80 * 40) >= len(ground)
    return torch.cat([ground, *things]), stands


def share_of_equal(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one == other).float().mean().item()


@pytest.mark.parametrize('seed', range(3))
def test_heights_are_those_above_the_plane_below(seed):
    points, stands = scene(seed)
    found = heights(points)
    assert share_of_equal(found > 0.2, stands) > 0.995
    assert (found - points[:, 2]).abs().median() < 0.05


@pytest.mark.parametrize('height', [-15.0, 4.1])
def test_lifting_the_scene_changes_nothing(height):
    points, _ = scene()
    lifted = points + torch.tensor([0.0, 0.0, height])
    torch.testing.assert_close(heights(lifted), heights(points), atol=1e-4, rtol=0)


@pytest.mark.parametrize('degrees', [(2.0, 0.0), (0.0, -4.0), (5.0, 5.0)])
def test_tilting_the_scene_leaves_the_choice_as_it_is(degrees):
    points, _ = scene()
    (pitch_cos, pitch_sin), (roll_cos, roll_sin) = (
        (math.cos(math.radians(a)), math.sin(math.radians(a))) for a in degrees
    )
    pitch = torch.tensor([[pitch_cos, 0, pitch_sin], [0, 1, 0], [-pitch_sin, 0, pitch_cos]])
    roll = torch.tensor([[1, 0, 0], [0, roll_cos, -roll_sin], [0, roll_sin, roll_cos]])
    tilted = points @ (roll @ pitch).T
    assert tilted[:, 2].abs().max() > 1.5
    assert share_of_equal(heights(tilted) > 0.2, heights(points) > 0.2) > 0.995


def test_a_road_that_bends_upwards_is_ground():
    points, stands = scene()
    points[:, 2] += 2 * (points[:, 0] / 48) ** 2  # 8 % at the ends
    assert share_of_equal(heights(points) > 0.2, stands) > 0.99


def test_stray_points_below_do_not_count():
    points, stands = scene()
    stray = points[:: len(points) // 15].clone()
    stray[:, 2] -= 1.5
    found = heights(torch.cat([points, stray]))
    assert share_of_equal(found[: len(points)] > 0.2, stands) > 0.99
    assert (found[len(points) :] < 0.2).float().mean() > 0.7  # but for those that fell from roofs


def test_each_sample_has_a_ground_of_its_own():
    (one, _), (two, _) = scene(0), scene(1)
    two = two + torch.tensor([0.0, 0.0, 6.0])
    sample = torch.cat([torch.zeros(len(one)), torch.ones(len(two))]).long()
    order = torch.randperm(len(sample), generator=torch.Generator().manual_seed(0))
    found = torch.empty(len(sample))
    found[order] = heights(torch.cat([one, two])[order], sample[order])
    assert torch.equal(found, torch.cat([heights(one), heights(two)]))


def test_few_points_and_small_ranges():
    assert heights(torch.zeros(0, 3)).shape == (0,)
    assert heights(torch.tensor([[3.0, 4.0, 5.0]])).tolist() == [0.0]
    points = torch.tensor([[0.1, 0.2, -1.0], [0.3, 0.1, 0.5]])
    small = [-1.0, -1.0, -3.0, 1.0, 1.0, 1.0]
    assert ground_grid(small) == (1, 1)
    found = heights_above_ground(points, torch.zeros(2).long(), torch.tensor(small), (1, 1, 1))
    assert found.tolist() == [0.0, 1.5]


def in_boxes(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """(P, M) whether points (P, 3) lie in boxes (M, 7) seen from above; mmcv's wants a GPU."""
    away = points[:, None, :2] - boxes[:, :2]
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    along, across = away[..., 0] * cos + away[..., 1] * sin, away[..., 1] * cos - away[..., 0] * sin
    return (along.abs() < boxes[:, 3] / 2) & (across.abs() < boxes[:, 4] / 2)


def test_simulated_road_users_keep_their_points_and_the_ground_goes(infos, tiny_set):
    """Which points are ground is told by the plane through the bottoms of the labelled boxes."""
    dataset = open_split(Config.fromfile(CONFIG), infos, tiny_set, 'train')
    kept = {name: [] for name in (CAR, PEDESTRIAN, 'ground')}
    for index in (0, len(dataset) // 2, len(dataset) - 1):
        data = dataset[index]
        sample, objects = data['data_samples'], data['data_samples'].gt_instances_3d
        clouds = data['inputs']['points'].split(sample.num_points)
        frames = sample.agents.num_frames
        points = torch.cat(clouds[frames - 1 :: frames])[:, :3]
        stands = heights(points) > 0.2
        boxes = objects.bboxes_3d.tensor
        feet = torch.cat([boxes[:, :2], torch.ones(len(boxes), 1)], dim=1)
        plane = torch.linalg.lstsq(feet, boxes[:, 2:3]).solution
        assert (feet @ plane - boxes[:, 2:3]).abs().max() < 0.1
        height = points[:, 2] - (points[:, :2] @ plane[:2] + plane[2])[:, 0]
        inside = in_boxes(points, boxes)
        kept['ground'].append(stands[(height.abs() < 0.1) & ~inside.any(dim=1)])
        for label in (CAR, PEDESTRIAN):
            of_kind = inside[:, torch.as_tensor(objects.labels_3d) == label].any(dim=1)
            kept[label].append(stands[of_kind & (height > 0.05) & (height < 2)])
    share = {name: torch.cat(found).float().mean().item() for name, found in kept.items()}
    assert min(len(torch.cat(found)) for found in kept.values()) > 50
    assert share['ground'] < 0.005 and share[CAR] > 0.97 and share[PEDESTRIAN] > 0.9
