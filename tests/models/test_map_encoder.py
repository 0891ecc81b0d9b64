"""Attention to the vector map: what is nearest, who sees what, and what moving the world does."""

import math

import numpy as np
import pytest
import torch
from mmdet3d.structures import Det3DDataSample

from tests.models.roads import road, road_maps
from turbotrain.errors import SettingError
from turbotrain.models import (
    VectorMapAttention,
    VectorMapNeck,
    VectorMaps,
    nearest_polylines,
    stack_maps,
)
from turbotrain.structures import nearest_polylines as reference
from turbotrain.structures import pose_to_matrix

WORLD = torch.from_numpy(pose_to_matrix([[20.0, -7.0, 0.0, 0.0, 65.0, 0.0]]))


def asked(count: int = 7, channels: int = 12) -> tuple[torch.Tensor, ...]:
    """Queries, positions and headings of one sample."""
    generator = torch.Generator().manual_seed(5)
    queries = torch.randn(1, count, channels, generator=generator)
    positions = 30 * torch.rand(1, count, 2, generator=generator) - 15
    return queries, positions, 6 * torch.rand(1, count, generator=generator) - 3


def attention(**kwargs) -> VectorMapAttention:
    torch.manual_seed(0)
    return VectorMapAttention(12, embed_channels=16, **kwargs).eval()


def turned(positions: torch.Tensor, headings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    moved = positions @ WORLD[0, :2, :2].T.float() + WORLD[0, :2, 3].float()
    return moved, headings + math.radians(65)


def test_nearest_are_those_of_the_search_tree():
    polylines, mask = road()
    positions = np.random.default_rng(0).uniform(-20, 20, (50, 2))
    _, _, expected = reference(polylines, mask, positions, np.zeros(50))
    means = (polylines[..., :2] * mask[..., None]).sum(1) / mask.sum(1)[:, None]
    index, found = nearest_polylines(
        torch.from_numpy(means).float()[None], torch.ones(1, len(means)).bool(),
        torch.from_numpy(positions).float()[None], 5,
    )  # fmt: skip
    assert found.all()
    np.testing.assert_allclose(means[index[0]] - positions[:, None], expected, atol=1e-4)


def test_moving_the_world_changes_nothing():
    module, maps, (queries, positions, headings) = attention(), road_maps(), asked()
    before = module(queries, positions, headings, maps)
    after = module(queries, *turned(positions, headings), maps.moved(WORLD))
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)
    # But where one stands, and where one looks, matters.
    assert (module(queries, positions + 3, headings, maps) - before).abs().amax(dim=2).min() > 1e-4
    assert (module(queries, positions, headings + 1, maps) - before).abs().amax(dim=2).min() > 1e-4


def test_only_the_nearest_are_looked_at():
    module, maps, (queries, positions, headings) = attention(num_polylines=3), road_maps(), asked()
    before = module(queries, positions, headings, maps)
    means = (maps.polylines[..., :2] * maps.mask[..., None]).sum(2) / maps.mask.sum(2)[..., None]
    near, _ = nearest_polylines(means, maps.mask.any(2), positions, 3)
    for line in range(maps.mask.shape[1]):
        mask = maps.mask.clone()
        mask[0, line] = False
        changed = module(queries, positions, headings, VectorMaps(maps.polylines, mask)) - before
        seen_by = (near[0] == line).any(dim=1)
        assert not changed[0, ~seen_by].abs().gt(1e-6).any()
        assert (changed[0, seen_by].abs().amax(dim=1) > 1e-6).all()


@pytest.mark.parametrize('content', [1e3, math.nan])
def test_points_that_are_not_there_do_not_count(content):
    module, (lines, mask), query = attention(), road_maps(), asked()
    mask[:, ::2, -3:] = False
    noisy = lines.clone()
    noisy[~mask] = content
    found, expected = (module(*query, VectorMaps(one, mask)) for one in (noisy, lines))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('lines', [0, 2])
def test_fewer_lines_than_wanted_and_none(lines):
    module, (queries, positions, headings) = attention(), asked()
    maps = VectorMaps(*(part[:, :lines] for part in road_maps()))
    out = module(queries, positions, headings, maps)
    assert torch.isfinite(out).all()
    assert torch.equal(out, queries) == (lines == 0)
    out.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


def test_a_batch_is_its_samples_whatever_their_maps():
    module, query = attention(), asked()
    samples = []
    for lanes in (4, 0, 1):
        polylines, mask = road(lanes)
        meta = dict(vector_map=polylines.astype(np.float64), vector_map_mask=mask)
        samples.append(Det3DDataSample(metainfo=meta))
    together = module(
        *(part.repeat_interleave(3, dim=0) for part in query), stack_maps(samples, 'cpu')
    )
    for row, sample in enumerate(samples):
        alone = module(*query, stack_maps([sample], 'cpu'))
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(together[1], query[0][0])


def test_a_sample_without_a_map_is_named():
    problem = "sample 7: its metainfo has no 'vector_map'.*LoadVectorMap"
    with pytest.raises(SettingError, match=problem):
        stack_maps([Det3DDataSample(metainfo=dict(sample_idx=7))], 'cpu')


def test_gradients_reach_every_parameter():
    module, query = attention(), asked()
    (module(*query, road_maps()) * torch.randn(12)).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.any(), name


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match='multiple of num_heads'):
        VectorMapAttention(12, embed_channels=16, num_heads=3)


def test_cells_of_the_map_ask_from_their_centres():
    torch.manual_seed(0)
    neck = VectorMapNeck(12, [-8.0, -4.0, -3.0, 8.0, 4.0, 1.0], embed_channels=16).eval()
    bev, maps = torch.randn(2, 12, 4, 8), VectorMaps(*(torch.cat([p, p]) for p in road_maps()))
    out = neck(bev, maps)
    assert out.shape == bev.shape
    one = neck.attention(
        bev[1, :, 3, 2][None, None], torch.tensor([[[-3.0, 3.0]]]), torch.zeros(1, 1),
        VectorMaps(*(part[1:] for part in maps)),
    )  # fmt: skip
    torch.testing.assert_close(out[1, :, 3, 2], one[0, 0], atol=1e-5, rtol=1e-5)
