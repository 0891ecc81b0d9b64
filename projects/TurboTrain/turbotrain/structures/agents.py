"""The agents of one sample: who saw what, when and from where."""

from dataclasses import dataclass, replace

import numpy as np

from .poses import invert_rigid

__all__ = ['INFRASTRUCTURE', 'VEHICLE', 'Agents']

VEHICLE = 0
INFRASTRUCTURE = 1


@dataclass(frozen=True)
class Agents:
    """N agents (the ego first) over T frames (oldest first, current last).

    Attributes:
        ids: (N,) int64, as the dataset names them.
        kinds: (N,) int64, ``VEHICLE`` or ``INFRASTRUCTURE``.
        time_offsets: (T,) float32, seconds relative to the current frame, at most 0.
        ego_from_agent: (N, T, 4, 4) float64, from each agent's LiDAR frame at each time to the
            ego's LiDAR frame at the current time; the identity where ``valid`` is false.
        valid: (N, T) bool, whether there is a cloud.
        speeds: (N,) float32 m/s when the newest cloud was taken, from poses.
        delays: (N,) float32 s, by how much each agent's clouds are older than ``time_offsets`` say;
            below 0 of an agent whose clouds are newer.
        points_in_ego: whether the clouds have been moved into the ego's frame already.
    """

    ids: np.ndarray
    kinds: np.ndarray
    time_offsets: np.ndarray
    ego_from_agent: np.ndarray
    valid: np.ndarray
    speeds: np.ndarray
    delays: np.ndarray
    points_in_ego: bool = False

    def __post_init__(self) -> None:
        """Check that all fields describe the same agents and frames, and the kinds."""
        n, t = len(self.ids), len(self.time_offsets)
        wanted = dict(
            kinds=(n,), ego_from_agent=(n, t, 4, 4), valid=(n, t), speeds=(n,), delays=(n,)
        )
        for name, shape in wanted.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(
                    f'{name}: {n} agents and {t} frames want shape {shape}, got {found}'
                )
        if not np.isin(self.kinds, (VEHICLE, INFRASTRUCTURE)).all():
            raise ValueError(
                f'kinds: expected {VEHICLE} (vehicle) or {INFRASTRUCTURE} (infrastructure), got '
                f'{self.kinds.tolist()}'
            )

    def __len__(self) -> int:
        """Number of agents."""
        return len(self.ids)

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.time_offsets)

    @property
    def ego_from_features(self) -> np.ndarray:
        """(N, 4, 4) from the frame an agent's current BEV features lie in to the ego's."""
        if self.points_in_ego:
            return np.tile(np.eye(4), (len(self), 1, 1))
        return self.ego_from_agent[:, -1]

    @property
    def current_from_frame(self) -> np.ndarray:
        """(N, T, 4, 4) from the frame of each agent's features at each time to the current one."""
        if self.points_in_ego:
            return np.tile(np.eye(4), (len(self), self.num_frames, 1, 1))
        return invert_rigid(self.ego_from_agent[:, -1:]) @ self.ego_from_agent

    def moved(self, motion: np.ndarray) -> 'Agents':
        """The same agents after every frame, ego's and agents', was changed by ``motion``.

        Args:
            motion: (4, 4) invertible, e.g. a rotation about z, a mirroring, or a scaling.

        Returns:
            Agents with ``motion @ ego_from_agent @ inverse(motion)``: it holds for points moved by
            ``motion`` in their own frames.
        """
        moved = motion @ self.ego_from_agent @ np.linalg.inv(motion)
        scale = np.abs(np.linalg.det(motion[:3, :3])) ** (1 / 3)
        return replace(self, ego_from_agent=moved, speeds=(self.speeds * scale).astype(np.float32))

    def ego_alone(self, valid: np.ndarray | None = None) -> 'Agents':
        """The ego's row of this record; ``valid`` (T,) replaces its own."""
        ego = replace(
            self,
            ids=self.ids[:1],
            kinds=self.kinds[:1],
            ego_from_agent=self.ego_from_agent[:1],
            valid=self.valid[:1],
            speeds=self.speeds[:1],
            delays=self.delays[:1],
        )
        return ego if valid is None else replace(ego, valid=valid[None])

    def only(self, keep: np.ndarray) -> 'Agents':
        """The same agents without the clouds where ``keep`` (N, T) is false."""
        valid = self.valid & keep
        transforms = np.where(valid[..., None, None], self.ego_from_agent, np.eye(4))
        return replace(self, valid=valid, ego_from_agent=transforms)
