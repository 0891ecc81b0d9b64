"""What goes wrong between agents: messages come late, from elsewhere than they say, or not at all.

The settings studied by V2X-Real ("wild setting") and CoBEVFlow, for training and for testing alike.
Ground truth never changes: it is of now, from clean poses, of all agents that were in range. The
ego hears itself always. Draws come from the sample's own generator.
"""

from dataclasses import replace

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...errors import SettingError
from ...structures import Agents, invert_rigid, yaw_of

__all__ = [
    'CooperativeAgentDropout',
    'CooperativeDelay',
    'CooperativePacketLoss',
    'CooperativePoseNoise',
]


@TRANSFORMS.register_module()
class CooperativeDelay(BaseTransform):
    """Let the other agents' clouds come late; goes before :class:`LoadCooperativePoints`.

    All frames of an agent are older by its delay, and lie where it was then: only what has moved
    meanwhile is out of place. Where the recording is sparser than the delay, the newest cloud that
    is old enough counts; ``agents.delays`` says how old it really is. Before a recording's
    first cloud there is none (our choice; V2X-Real takes the first).

    Args:
        delay: seconds, counted in whole frames as V2X-Real does; one number, a range
            ``(low, high)`` of which each agent draws its own, or a mapping from agent id to its
            delay (agents it does not name are on time).
    """

    def __init__(self, delay: float | tuple[float, float] | dict[int, float]) -> None:
        if isinstance(delay, (int, float)):
            delay = (delay, delay)
        values = list(delay.values() if isinstance(delay, dict) else delay)
        is_range = isinstance(delay, dict) or (len(values) == 2 and values[0] <= values[1])
        if not is_range or any(v < 0 for v in values):
            raise SettingError(
                f'delay: expected seconds, a range (low, high) or id -> seconds, got {delay}'
            )
        self.delay = delay

    def transform(self, results: dict) -> dict:
        """Look the agents up as they were."""
        _wants_paths(results, self)
        if 'noisy_poses' in results or 'observe' not in results:
            raise SettingError(
                'CooperativeDelay has to come before CooperativePoseNoise and before EgoOnly'
            )
        ids = results['agents'].ids
        if isinstance(self.delay, dict):
            delays = np.array([float(self.delay.get(int(agent), 0.0)) for agent in ids])
        else:
            delays = results['rng'].uniform(*self.delay, len(ids))
        delays[0] = 0.0
        results['agents'], results['cloud_paths'] = results['observe'](delays)
        # What was lost before stays lost.
        return _lose(results, np.zeros(results['agents'].valid.shape, dtype=bool), self)


@TRANSFORMS.register_module()
class CooperativePoseNoise(BaseTransform):
    """Let the other agents be wrong about where they are; goes before points are projected.

    Gaussian noise on the position and on the heading of the poses that agents report, as in
    V2X-Real (which adds it to x, y, z and yaw). An agent is off by the same in all of a sample's
    frames, since localisation errors last (our choice).

    Args:
        position: standard deviation ahead, to the left and up, metres.
        heading: standard deviation of the yaw, degrees.
    """

    def __init__(self, position: float = 0.0, heading: float = 0.0) -> None:
        if position < 0 or heading < 0:
            raise SettingError(f'noise must not be negative, got {position} m and {heading} deg')
        self.position, self.heading = position, heading

    def transform(self, results: dict) -> dict:
        """Move the agents."""
        agents: Agents = results['agents']
        if agents.points_in_ego:
            raise SettingError('CooperativePoseNoise has to come before ProjectPointsToEgo')
        n, t = agents.valid.shape
        noise = results['rng'].normal(size=(n, 1, 4))
        angle = np.deg2rad(self.heading) * noise[..., 3]
        angle[0] = 0.0
        turn = np.tile(np.eye(4), (*angle.shape, 1, 1))
        turn[..., 0, 0] = turn[..., 1, 1] = np.cos(angle)
        turn[..., 1, 0], turn[..., 0, 1] = np.sin(angle), -np.sin(angle)
        # Noise is about the vertical of the world, whatever the tilt of the ego.
        world_from_ego = results['world_from_ego']
        poses = world_from_ego @ agents.ego_from_agent
        turned = turn @ poses
        turned[..., :3, 3] = poses[..., :3, 3]
        # Ahead and to the left of where the ego heads: turning the world changes no sample.
        yaw = yaw_of(world_from_ego)
        ahead = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        shift = self.position * noise[1:, :, :3]
        shift[..., :2] = shift[..., :2] @ ahead.T
        turned[1:, :, :3, 3] += shift
        moved = np.where(
            agents.valid[..., None, None], invert_rigid(world_from_ego) @ turned, np.eye(4)
        )
        moved[0] = agents.ego_from_agent[0]
        results.update(agents=replace(agents, ego_from_agent=moved), noisy_poses=True)
        return results


@TRANSFORMS.register_module()
class CooperativeAgentDropout(BaseTransform):
    """Lose all messages of an agent; goes before :class:`LoadCooperativePoints`.

    Args:
        probability: with which each of the other agents is lost.
    """

    def __init__(self, probability: float) -> None:
        self.probability = _checked_probability(probability)

    def transform(self, results: dict) -> dict:
        """Drop agents."""
        lost = results['rng'].random(len(results['agents'])) < self.probability
        return _lose(results, np.tile(lost[:, None], results['agents'].num_frames), self)


@TRANSFORMS.register_module()
class CooperativePacketLoss(BaseTransform):
    """Lose single messages, of an agent at a time; goes before :class:`LoadCooperativePoints`.

    Args:
        probability: with which each frame of each of the other agents is lost.
    """

    def __init__(self, probability: float) -> None:
        self.probability = _checked_probability(probability)

    def transform(self, results: dict) -> dict:
        """Drop frames."""
        lost = results['rng'].random(results['agents'].valid.shape) < self.probability
        return _lose(results, lost, self)


def _checked_probability(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise SettingError(f'probability must be from 0 to 1, got {value}')
    return value


def _wants_paths(results: dict, transform: BaseTransform) -> None:
    if 'points' in results:
        raise SettingError(f'{type(transform).__name__} has to come before LoadCooperativePoints')


def _lose(results: dict, lost: np.ndarray, transform: BaseTransform) -> dict:
    """Mark clouds as invalid, before they are read in vain."""
    _wants_paths(results, transform)
    lost = lost | results.get('lost', False)
    lost[0] = False
    if not lost.any():
        return results
    agents = results['agents'].only(~lost)
    results.update(agents=agents, lost=lost)
    results['cloud_paths'] = [
        path if ok else ''
        for path, ok in zip(results['cloud_paths'], agents.valid.ravel(), strict=True)
    ]
    return results
