"""What raw input and models the tests of this folder share."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml
from mmdet3d.registry import MODELS
from mmengine.config import Config

from tests.models.movers import let_move
from turbotrain.online import AgentClouds, Moment

CONFIGS = Path(__file__).parents[2] / 'configs/benchmark/mini'
VALUES = ('boxes', 'scores', 'velocity', 'trajectories', 'trajectory_scores')
NAME = '2023-03-17-16-12-12_3_0'


@cache
def pose_in(path: Path) -> list[float]:
    return yaml.load(path.read_text(), Loader=yaml.CSafeLoader)['lidar_pose']


def recorded(scenario: Path, agent: int, frames: list[int], arrays: bool = False) -> AgentClouds:
    """One agent's part of a scenario; clouds of missing files are None."""
    there = [scenario / str(agent) / f'{frame:06d}.yaml' for frame in frames]
    there = [path for path in there if path.exists()]
    files = [path.with_suffix('.bin') for path in there]
    read = (lambda path: np.fromfile(path, '<f4').reshape(-1, 4)) if arrays else str
    return AgentClouds(
        clouds=[read(path) if path.exists() else None for path in files],
        poses=[pose_in(path) for path in there],
        times=[100.0 + int(path.stem) / 10 for path in there],
        kind='vehicle' if agent > 0 else 'infrastructure',
        id=abs(agent),
    )


def moment_of(scenario: Path, agents: list[int], frames: list[int], arrays: bool = False) -> Moment:
    """Agents up to the last of the frames; the first one is the ego."""
    return Moment(
        [recorded(scenario, agent, frames, arrays) for agent in agents],
        map_path=str(scenario.parents[1] / 'map/v2x_intersection_vector_map.pkl'),
        scenario=scenario.name,
        frame=frames[-1],
    )


def untrained(method: str, folder: Path, **changes: object) -> tuple[Config, str]:
    """A method's mini config that detects without training, and a checkpoint of it."""
    cfg = Config.fromfile(CONFIGS / f'{method}_mini_v2xpnp.py')
    cfg.model.test_cfg.update(score_thr=0.0, nms_pre=40, max_num=20)
    cfg.model.update(changes)
    torch.manual_seed(0)
    path = folder / f'{method}.pth'
    model = MODELS.build(cfg.model)
    if model.velocity_head is not None:
        let_move(model)
    torch.save(dict(state_dict=model.state_dict()), path)
    return cfg, str(path)


def own_frames(cfg: Config) -> Config:
    """The same without projecting clouds into the ego's frame before encoding."""
    steps = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset.pipeline = [s for s in steps if s.type != 'ProjectPointsToEgo']
    return cfg


def assert_same(found: dict, expected: dict, atol: float = 1e-4) -> None:
    assert len(expected['boxes']) == 20
    assert found['labels'] == expected['labels']
    for key in VALUES:
        np.testing.assert_allclose(found[key], expected[key], atol=atol, err_msg=key)
