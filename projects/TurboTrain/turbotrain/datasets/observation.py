"""What agents have seen up to some time: their poses and clouds in info files."""

import numpy as np

from ..structures import Agents, invert_rigid
from .infos import Infos
from .modes import kind_of

__all__ = ['observe']


def observe(
    infos: Infos,
    scenario: int,
    frame: int,
    ids: np.ndarray,
    world_from_ego: np.ndarray,
    past: np.ndarray,
    step: int,
    delays: np.ndarray,
    pad: bool = False,
) -> tuple[Agents, list[str]]:
    """What agents have seen up to some time before now.

    Args:
        infos: of the split.
        scenario: index of the scenario.
        frame: the current frame.
        ids: (N,) the agents' ids, the ego first.
        world_from_ego: (4, 4) the ego's pose now.
        past: (T,) frames from the current one to those asked for, at most 0, rising.
        step: frames from one of them to the next.
        delays: (N,) seconds, rounded down to frames, by which each agent's clouds come late. The
            newest cloud counts that is old enough and less than one step older than that. Below 0
            it is the time from now to a future frame.
        pad: where an agent has no cloud, repeat its next later one.

    Returns:
        The agents, and the paths of their N*T clouds relative to the data root, ``''`` where there
        is none.
    """
    rate = infos.dialect.frame_rate
    # A delay such as 0.3 s is a hair less than 3 frames in floating point.
    delay_frames = np.floor(delays * rate + 1e-6).astype(np.int64)
    frames = frame + past - delay_frames[:, None]
    within = np.where(delay_frames > 0, step, 1)[:, None]
    rows = infos.rows(scenario, ids, frames, within)
    valid = (rows >= 0) & (infos.cloud[rows] != '')
    there = rows[:, -1] >= 0
    now = np.where(there, rows[:, -1], 0)
    age = np.where(there, frame - infos.frame[now], delay_frames)
    if pad:
        rows, valid = _repeat_later(rows, valid)
    agents = Agents(
        ids=ids,
        kinds=np.array([kind_of(agent) for agent in ids], dtype=np.int64),
        time_offsets=(past / rate).astype(np.float32),
        ego_from_agent=np.where(
            valid[..., None, None],
            invert_rigid(world_from_ego) @ infos.world_from_agent[rows],
            np.eye(4),
        ),
        valid=valid,
        speeds=np.where(there, infos.speeds[now], 0.0).astype(np.float32),
        delays=(age / rate + np.where(there, infos.lag[now], 0.0)).astype(np.float32),
    )
    return agents, np.where(valid, infos.cloud[rows], '').ravel().tolist()


def _repeat_later(rows: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fill each empty place of (N, T) from the next later one that is not empty, if any."""
    steps = np.where(valid, np.arange(valid.shape[1]), valid.shape[1])
    source = np.minimum.accumulate(steps[:, ::-1], axis=1)[:, ::-1]
    filled = source < valid.shape[1]
    rows = np.take_along_axis(rows, source.clip(max=valid.shape[1] - 1), axis=1)
    return np.where(filled, rows, -1), filled
