"""The dataset's two kinds of pickle."""

import pickle
from collections.abc import Callable, Mapping

import numpy as np

from ...structures import Lane, Map, MapPoint
from .errors import DataFileError, said, shown
from .files import read_bytes
from .restricted_pickle import ARRAY_GLOBALS, PickledArray, load_restricted, ordered

__all__ = ['read_trajectories', 'read_vector_map']

_MAP_TYPES = 'opencood.data_utils.datasets.map.map_types'
_MAP_GLOBALS = {(_MAP_TYPES, cls.__name__): cls for cls in (Map, Lane, MapPoint)}
_TRAJECTORY_GLOBALS = {('collections', 'OrderedDict'): ordered, **ARRAY_GLOBALS}
_HUGE = 1e12  # what no place is; false for NaN as well
_MAX_POINTS = 500_000  # of a map: lanes of a few bytes may all share one long line
_MAX_TYPE = 255  # of a lane; 0 to 4 are known


def _load(
    path: str, allowed: Mapping[tuple[str, str], Callable], backend_args: dict | None
) -> object:
    content = read_bytes(path, backend_args)
    try:
        return load_restricted(bytes(content), allowed)
    except pickle.UnpicklingError as error:
        raise DataFileError(
            path, f'is not a pickle of the expected kind ({said(error)})'
        ) from error


def read_vector_map(path: str, backend_args: dict | None = None) -> Map:
    """Read ``v2x_intersection_vector_map.pkl`` or ``v2v_corridors_vector_map.pkl``.

    Raises:
        DataFileError: the file is missing, damaged, names a class that is not one of V2XPnP's map
            types, or holds no map of lanes whose points are numbers.
    """
    content = _load(path, _MAP_GLOBALS, backend_args)
    if not isinstance(getattr(content, 'map_features', None), list):
        raise DataFileError(path, f'expected a Map with a list map_features, got {shown(content)}')
    points, good = 0, set()
    for i, lane in enumerate(content.map_features):
        where = f'map_features[{i}]'
        if not isinstance(lane, Lane):
            raise DataFileError(path, f'{where}: expected a Lane, got {shown(lane)}')
        kind = getattr(lane, 'type', None)
        if type(kind) is not int or not 0 <= kind <= _MAX_TYPE:
            raise DataFileError(
                path, f'{where}.type: expected a number from 0 to {_MAX_TYPE}, got {shown(kind)}'
            )
        for name in ('polyline', 'boundary'):
            line = getattr(lane, name, None)
            points += len(line) if isinstance(line, list) else 0
            if points > _MAX_POINTS:
                raise DataFileError(path, f'{where}: more than {_MAX_POINTS} points in all')
            if id(line) in good:
                continue
            if not isinstance(line, list) or not all(map(_is_point, line)):
                raise DataFileError(
                    path,
                    f'{where}.{name}: expected a list of MapPoints with finite x, y, z, got '
                    f'{shown(line)}',
                )
            good.add(id(line))
    return content


def _is_point(point: object) -> bool:
    numbers = [getattr(point, name, None) for name in 'xyz'] if type(point) is MapPoint else [None]
    return all(isinstance(n, (int, float)) and abs(n) < _HUGE for n in numbers)


def read_trajectories(
    path: str, backend_args: dict | None = None
) -> dict[int, dict[int, dict[str, np.ndarray]]]:
    """Read ``trajectory_database*.pkl``.

    Returns:
        scenario index -> object id -> ``trajectory`` (T, 4) ``[timestep, x, y, z]`` in the world
        frame, metres, and ``trajectory_mask`` (T,), at 10 Hz.

    Raises:
        DataFileError: the file is missing, damaged, names a class it has no need of, or an entry
            lacks a key.
    """
    content = _load(path, _TRAJECTORY_GLOBALS, backend_args)
    _mapping(path, 'scenarios', content)
    # A pickle may name one mapping, or one array, any number of times.
    seen: set[tuple[int, ...]] = set()
    for scenario, tracks in content.items():
        _mapping(path, f'objects under [{shown(scenario)}]', tracks)
        if (id(tracks),) in seen:
            continue
        seen.add((id(tracks),))
        for track, entry in tracks.items():
            where = f'[{shown(scenario)}][{shown(track)}]'
            _mapping(path, f'arrays under {where}', entry)
            if (id(entry),) in seen:
                continue
            seen.add((id(entry),))
            for key, value in entry.items():
                if isinstance(value, PickledArray):
                    entry[key] = value.values
            found = entry.get('trajectory'), entry.get('trajectory_mask')
            if tuple(map(id, found)) not in seen:
                _check_track(path, where, *found)
                seen.add(tuple(map(id, found)))
    return content


def _check_track(path: str, where: str, trajectory: object, mask: object) -> None:
    found = trajectory, mask
    shapes = [value.shape if isinstance(value, np.ndarray) else None for value in found]
    if None in shapes or shapes[0][1:] != (4,) or shapes[1] != shapes[0][:1]:
        raise DataFileError(
            path,
            f"key {where}: expected arrays 'trajectory' (T, 4) and 'trajectory_mask' (T,), "
            f'got shapes {shapes[0]} and {shapes[1]}',
        )
    kinds = [value.dtype.kind for value in found]
    if kinds[0] not in 'iuf' or kinds[1] not in 'biuf':
        raise DataFileError(
            path, f"key {where}: expected numbers, got 'trajectory' of {trajectory.dtype} and "
            f"'trajectory_mask' of {mask.dtype}"
        )  # fmt: skip
    if not ((mask == 0) | (mask == 1)).all():
        raise DataFileError(path, f"key {where}: expected 0 and 1 in 'trajectory_mask'")
    seen = trajectory[mask.astype(bool)]
    if not ((seen > -_HUGE) & (seen < _HUGE)).all():  # the absolute of an integer may overflow
        raise DataFileError(
            path, f"key {where}: expected finite numbers in 'trajectory' where the mask is set"
        )


def _mapping(path: str, what: str, value: object) -> None:
    if not isinstance(value, dict):
        raise DataFileError(path, f'expected a mapping of {what}, got {shown(value)}')
