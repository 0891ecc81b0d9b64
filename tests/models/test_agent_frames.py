"""Clouds in the agents' own frames tell what they tell in the ego's: poses go the right way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config

from tests.models.movers import let_move
from tests.pretraining.masks import records
from turbotrain.structures import Agents, invert_rigid, pose_to_matrix, transform_points

CONFIGS = Path(__file__).parents[2] / 'configs'
FRAMES = 2
# Whole cells of all maps apart, so that warped maps are as sharp as others; both drive.
POSES = pose_to_matrix(
    [[[-6.4, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], [[6.4, -3.2, 0, 0, 0, 0], [3.2, 3.2, 0, 0, 0, 0]]]
)


def test_a_frame_reaches_the_current_one_by_way_of_the_ego():
    (agents,) = records(3, in_ego=False)
    points = np.random.default_rng(0).normal(size=(20, 3))
    for agent in range(3):
        for frame in range(3):
            into_ego = transform_points(agents.ego_from_agent[agent, frame], points)
            wanted = transform_points(invert_rigid(agents.ego_from_agent[agent, -1]), into_ego)
            found = transform_points(agents.current_from_frame[agent, frame], points)
            np.testing.assert_allclose(found, wanted, atol=1e-9)


def agents_at(poses: np.ndarray, in_ego: bool) -> Agents:
    n = len(poses)
    return Agents(
        ids=np.arange(n), kinds=np.zeros(n, dtype=np.int64), time_offsets=np.float32([-0.5, 0]),
        ego_from_agent=poses, valid=np.ones((n, FRAMES), dtype=bool),
        speeds=np.zeros(n, np.float32), delays=np.zeros(n, np.float32), points_in_ego=in_ego,
    )  # fmt: skip


def world() -> list[torch.Tensor]:
    """Clouds of two agents and two frames in the ego's frame, near enough for all maps."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(4, 12, 1, 3, generator=generator) * torch.tensor([50, 24, 1.5])
    spots = corners - torch.tensor([25, 12, 1.5])
    clouds = (spots + torch.rand(4, 12, 60, 3, generator=generator)).reshape(4, -1, 3)
    return [torch.cat([cloud, torch.zeros(len(cloud), 1)], dim=1) for cloud in clouds]


def inputs_of(poses: np.ndarray, in_ego: bool) -> tuple[dict, list[Det3DDataSample]]:
    clouds = world()
    if not in_ego:
        for cloud, pose in zip(clouds, poses.reshape(-1, 4, 4), strict=True):
            moved = transform_points(invert_rigid(pose), cloud[:, :3].double().numpy())
            cloud[:, :3] = torch.from_numpy(moved)
    empty = dict(vector_map=np.zeros((0, 10, 7), np.float32), vector_map_mask=np.zeros((0, 10)))
    about = dict(agents=agents_at(poses, in_ego), box_type_3d=LiDARInstance3DBoxes, **empty)
    return dict(points=[clouds]), [Det3DDataSample(metainfo=about)]


def detector_of(config: str) -> torch.nn.Module:
    torch.manual_seed(0)
    cfg = Config.fromfile(f'{CONFIGS}/{config}_mini_v2xpnp.py').model
    cfg.velocity_head.num_frames = FRAMES
    return MODELS.build(cfg).eval()


@pytest.mark.parametrize('config', ['turbotrain/mini/finetune', 'benchmark/mini/f-cooper'])
def test_own_frames_tell_what_the_egos_tells(config):
    """And far more so than if the past, or the other agent, were taken the other way round."""
    model = detector_of(config)
    let_move(model)
    # Where a point is on the map is a feature, too; without, clouds look alike from everywhere.
    model.encoder.points.layers[0].weight.data[:, 2:4] = 0
    low, high = (torch.tensor(v) for v in ([-20, -8, -1, 1, 1, 1, 0], [20, 8, 0, 4, 2, 2, 6]))
    boxes = low + (high - low) * torch.rand(8, 7)
    past, other = POSES.copy(), POSES.copy()
    past[:, 0, :2, 3] = (2 * POSES[:, 1] - POSES[:, 0])[:, :2, 3]
    other[1, :, :2, 3] *= -1
    maps, paths = [], []
    for poses, in_ego in ((POSES, True), (POSES, False), (past, False), (other, False)):
        inputs, samples = inputs_of(POSES, in_ego)
        samples[0].set_metainfo(dict(agents=replace(samples[0].agents, ego_from_agent=poses)))
        with torch.no_grad():
            (bev,) = model.extract_feat(inputs, samples)
            ((forecast, _),) = model.forecast(inputs, samples, [boxes], [torch.arange(8) % 3])
        maps.append(bev[0, :, 22:-22, 36:-36])  # where the maps of all agents reach
        paths.append(forecast)
    off = [float((bev - maps[0]).norm()) for bev in maps]
    assert off[1] < 0.15 * min(off[2:]), off
    missed = [float((path - paths[0]).abs().max()) for path in paths]
    assert missed[1] < 0.02 and min(missed[2:]) > 0.5, missed


@pytest.mark.parametrize('config', ['benchmark/mini/v2xpnp', 'benchmark/mini/f-cooper'])
def test_who_has_no_cloud_is_as_if_not_there(config):
    model = detector_of(config)
    inputs, samples = inputs_of(POSES, True)
    agents = samples[0].agents
    clouds = inputs['points'][0]

    def seen(clouds: list[torch.Tensor], agents: Agents) -> torch.Tensor:
        samples[0].set_metainfo(dict(agents=agents))
        with torch.no_grad():
            return model.extract_feat(dict(points=[clouds]), samples)[0]

    silent = agents.only(np.array([[True, True], [False, False]]))
    alone = seen(clouds[:2], agents.ego_alone())
    nothing = [cloud[:0] for cloud in clouds[2:]]
    torch.testing.assert_close(seen([*clouds[:2], *nothing], silent), alone, atol=1e-5, rtol=0)
    assert (seen(clouds, agents) - alone).abs().max() > 1e-3
