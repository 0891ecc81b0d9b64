"""The dataset's two kinds of pickle, read by an unpickler that can build nothing else."""

import io
import pickle
from collections import OrderedDict

import numpy as np

from ...structures import Lane, Map, MapPoint
from .errors import DataFileError
from .files import read_bytes

__all__ = ['read_trajectories', 'read_vector_map']

_MAP_TYPES = 'opencood.data_utils.datasets.map.map_types'
_MAP_GLOBALS = {(_MAP_TYPES, cls.__name__): cls for cls in (Map, Lane, MapPoint)}
_TRAJECTORY_GLOBALS = {('collections', 'OrderedDict'): OrderedDict} | {
    (module, name): value
    for package in ('numpy.core', 'numpy._core')
    for module, name, value in (
        (f'{package}.multiarray', '_reconstruct', np.core.multiarray._reconstruct),
        (f'{package}.multiarray', 'scalar', np.core.multiarray.scalar),
        ('numpy', 'ndarray', np.ndarray),
        ('numpy', 'dtype', np.dtype),
    )
}


class _Unpickler(pickle.Unpickler):
    """Builds the named classes and refuses every other global by its name."""

    def __init__(self, file: object, allowed: dict[tuple[str, str], type]) -> None:
        super().__init__(file)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> type:
        """Look a global up among the allowed ones."""
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f'{module}.{name} is not allowed in this file') from None


def _load(path: str, allowed: dict[tuple[str, str], type], backend_args: dict | None) -> object:
    content = read_bytes(path, backend_args)
    try:
        return _Unpickler(io.BytesIO(content), allowed).load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataFileError(path, f'is not a pickle of the expected kind ({error})') from error


def read_vector_map(path: str, backend_args: dict | None = None) -> Map:
    """Read ``v2x_intersection_vector_map.pkl`` or ``v2v_corridors_vector_map.pkl``.

    Raises:
        DataFileError: the file is missing, damaged, names a class that is not one of V2XPnP's map
            types, or holds no map.
    """
    content = _load(path, _MAP_GLOBALS, backend_args)
    if not isinstance(content, Map) or not isinstance(content.map_features, list):
        raise DataFileError(path, f'expected a Map with a list map_features, got {content!r:.60}')
    for i, lane in enumerate(content.map_features):
        if not isinstance(lane, Lane):
            raise DataFileError(path, f'map_features[{i}]: expected a Lane, got {lane!r:.60}')
    return content


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
    for scenario, tracks in content.items():
        _mapping(path, f'objects under [{scenario}]', tracks)
        for track, entry in tracks.items():
            where = f'[{scenario}][{track}]'
            _mapping(path, f'arrays under {where}', entry)
            shapes = [np.shape(entry.get(key)) for key in ('trajectory', 'trajectory_mask')]
            if shapes[0][1:] != (4,) or shapes[1] != shapes[0][:1]:
                raise DataFileError(
                    path,
                    f"key {where}: expected 'trajectory' (T, 4) and 'trajectory_mask' (T,), got "
                    f'shapes {shapes[0]} and {shapes[1]}',
                )
    return content


def _mapping(path: str, what: str, value: object) -> None:
    if not isinstance(value, dict):
        raise DataFileError(path, f'expected a mapping of {what}, got {value!r:.60}')
