"""From paths to point clouds and map polylines."""

import warnings
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...errors import SettingError
from ...structures import Map, invert_rigid, move_polylines, polylines_of
from ..point_kernels import keep_outside_body, move
from ..readers import (
    DataFileError,
    MissingFileError,
    read_point_cloud,
    read_vector_map,
    usable_points,
)

__all__ = ['LoadCooperativePoints', 'LoadFuturePoints', 'LoadVectorMap']

_NO_POINTS = np.zeros((0, 4), dtype=np.float32)


@TRANSFORMS.register_module()
class LoadCooperativePoints(BaseTransform):
    """Load the clouds of all agents and frames.

    Adds ``points``: N*T float32 arrays (P, 4), agent-major (all frames of the ego first), each in
    its own agent's right-handed frame; an invalid cloud is an array of no points. Adds
    ``zero_intensity``, for transforms that bring points of their own. ``clouds``, if there, holds
    arrays (P, 4) by their paths in ``cloud_paths``, which are no files then.

    Args:
        zero_intensity: set intensity to 0, as V2X-Real's loader does.
        body_mask: ``[x_min, y_min, x_max, y_max]`` (m): points there, in each agent's own frame,
            are the agent's own body and dropped, as V2X-Real does. None keeps them.
        on_bad_cloud: ``error`` raises for a cloud that cannot be read; ``drop`` marks it invalid
            and warns once for each file.

    Raises:
        DataFileError: a cloud cannot be read and ``on_bad_cloud`` is ``error``.
    """

    def __init__(
        self,
        zero_intensity: bool = True,
        body_mask: tuple[float, float, float, float] | None = (-1.95, -1.1, 2.95, 1.1),
        on_bad_cloud: str = 'error',
    ) -> None:
        if on_bad_cloud not in ('error', 'drop'):
            raise SettingError(f"on_bad_cloud must be 'error' or 'drop', got {on_bad_cloud!r}")
        self.zero_intensity = zero_intensity
        nowhere = (np.inf, np.inf, -np.inf, -np.inf)
        self.body_mask = np.array(body_mask or nowhere, dtype=np.float32)
        self.on_bad_cloud = on_bad_cloud

    def transform(self, results: dict) -> dict:
        """Load."""
        agents = results['agents']
        clouds = [self._load(path, results) for path in results['cloud_paths']]
        results['points'] = [_NO_POINTS if cloud is None else cloud for cloud in clouds]
        results['zero_intensity'] = self.zero_intensity
        readable = np.array([cloud is not None for cloud in clouds])
        if not readable.all():
            results['agents'] = agents.only(readable.reshape(agents.valid.shape))
        return results

    def _load(self, path: str, results: dict) -> np.ndarray | None:
        """One cloud; of no points if there is none, None if it cannot be read."""
        if not path:
            return _NO_POINTS
        given = results.get('clouds', {})
        try:
            if path in given:
                points = np.array(given[path], dtype=np.float32, order='C')  # a copy
                points = usable_points(path, points)
            else:
                points = read_point_cloud(path, results['backend_args'])
        except DataFileError as error:
            if self.on_bad_cloud == 'error':
                raise
            # The text is the same each time, so that Python shows it once.
            warnings.warn(f'{error}; the cloud is left out', stacklevel=3)
            return None
        if results['left_handed_clouds']:
            points[:, 1] *= -1.0
        return self.clean(points, results['byte_intensity'])

    def clean(self, points: np.ndarray, byte_intensity: bool) -> np.ndarray:
        """Points of an agent's own frame without its body, in the same memory.

        Args:
            points: (P, 4) x, y, z (m), intensity; changed.
            byte_intensity: see :class:`~.Dialect`; intensities above 1 are taken for bytes.
        """
        if byte_intensity and points[:, 3].max(initial=0.0) > 1.0:
            points[:, 3] /= 255.0
        return points[: keep_outside_body(points, self.body_mask, self.zero_intensity)]


@TRANSFORMS.register_module()
class LoadFuturePoints(LoadCooperativePoints):
    """Load what the agents will see a little later: what a 4D pretraining target is made of.

    Adds ``future_points``: for each agent a float32 array (P, 4) in the ego's current frame, of no
    points where nothing was recorded then, and ``future_is_known``: whether all who see something
    now have a cloud then. If not, what they see would seem to vanish. Poses are the true ones. Goes
    after :class:`LoadCooperativePoints`, before augmentation.

    Args:
        offset: seconds from now; 0.5, the next step of the sequence (our choice).
        kwargs: those of :class:`LoadCooperativePoints`.

    Raises:
        DataFileError: a cloud cannot be read and ``on_bad_cloud`` is ``error``.
        SettingError: the transform stands at the wrong place.
    """

    def __init__(self, offset: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if offset <= 0:
            raise SettingError(f'offset must be above 0 s, got {offset}')
        self.offset = offset

    def transform(self, results: dict) -> dict:
        """Load."""
        if 'augmented' in results or 'observe' not in results:
            raise SettingError(
                'LoadFuturePoints has to come before CooperativeGlobalAugmentation, and cannot '
                'be with EgoOnly'
            )
        agents, paths = results['observe'](np.full(len(results['agents']), -self.offset))
        clouds = [
            self._load(path, results) for path in paths[agents.num_frames - 1 :: agents.num_frames]
        ]
        results['future_points'] = [_NO_POINTS if cloud is None else cloud for cloud in clouds]
        readable = np.array([cloud is not None for cloud in clouds]) & agents.valid[:, -1]
        results['future_is_known'] = bool(readable[results['agents'].valid[:, -1]].all())
        for points, matrix in zip(
            results['future_points'], agents.ego_from_agent[:, -1], strict=True
        ):
            move(points, matrix.astype(np.float32))
        return results


@TRANSFORMS.register_module()
class LoadVectorMap(BaseTransform):
    """Load the lanes round the ego.

    Adds ``vector_map``: polylines (L, 10, 7) ``[x, y, z, dx, dy, dz, type]`` in the ego's frame and
    ``vector_map_mask`` (L, 10). Without a map file both are empty; an empty path asks for none.

    Args:
        radius: polylines whose mean is further away than this (m) are left out.
    """

    def __init__(self, radius: float = 80.0) -> None:
        self.radius = radius
        self._maps: dict[str, tuple[np.ndarray, ...]] = {}

    def transform(self, results: dict) -> dict:
        """Load."""
        if 'augmented' in results:
            raise SettingError('LoadVectorMap has to come before CooperativeGlobalAugmentation')
        polylines, mask, middle = self._read(results['map_path'], results['backend_args'])
        x, y = middle - results['world_from_ego'][:2, 3:]
        near = x * x + y * y <= self.radius**2
        polylines, mask = polylines[near], mask[near]
        ego_from_world = invert_rigid(results['world_from_ego'])
        results['vector_map'] = move_polylines(ego_from_world, polylines, mask)
        results['vector_map_mask'] = mask
        return results

    def _read(self, path: str, backend_args: dict | None) -> tuple[np.ndarray, ...]:
        """Polylines in the world frame, their mask and their means (2, L); read once a process."""
        if path not in self._maps:
            try:
                vector_map = read_vector_map(path, backend_args) if path else Map()
            except MissingFileError as error:
                warnings.warn(f'{error}; samples go without lanes', stacklevel=2)
                vector_map = Map()
            polylines, mask = polylines_of(vector_map)
            total = (polylines[..., :2] * mask[..., None]).sum(1)
            middle = (total / mask.sum(1).clip(1)[:, None]).T
            self._maps[path] = polylines, mask, np.ascontiguousarray(middle)
        return self._maps[path]
