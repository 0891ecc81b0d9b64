"""The range of a detector's maps, which several of its parts are told."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import SettingError

__all__ = ['parts_in', 'ranges_in', 'refuse_other_ranges', 'refuse_outside']

_TOLERANCE = 1e-3  # metres
_LEAST_SHARE = 0.9  # of a map that anchors cover: some generators leave half a cell at each border


def parts_in(config: Any, name: str = '') -> Iterator[tuple[str, Mapping]]:
    """All mappings in a config, itself included, however deep, with their dotted names."""
    if isinstance(config, Mapping):
        yield name, config
        for key, value in config.items():
            yield from parts_in(value, f'{name}.{key}' if name else str(key))
    elif isinstance(config, (list, tuple)):
        for number, value in enumerate(config):
            yield from parts_in(value, f'{name}[{number}]')


def ranges_in(config: Any, keys: Sequence[str], name: str = '') -> Iterator[tuple[str, list]]:
    """The values of some keys in a config and all that is inside it, with their dotted names."""
    for place, part in parts_in(config, name):
        for key, value in part.items():
            if key in keys and value is not None:
                yield f'{place}.{key}' if place else str(key), list(value)


def refuse_other_ranges(name: str, limits: Sequence[float], parts: Mapping) -> None:
    """Stop where parts of a detector would lay its map out over another range.

    Heights are not compared: no part but the encoder lays anything out along z.

    Args:
        name: of the setting that the others are compared with.
        limits: its value, ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.
        parts: configs of the parts by their names.

    Raises:
        SettingError: a range differs in x or y, or anchors lie elsewhere; names both settings.
    """
    for other, value in ranges_in(parts, ('point_cloud_range', 'pc_range')):
        # Coders of centre heads know the lower corner only.
        pairs = [(0, 0), (1, 1)] + ([(3, 3), (4, 4)] if len(value) == 6 else [])
        if any(abs(value[i] - limits[j]) > _TOLERANCE for i, j in pairs):
            raise SettingError(
                f'{other} is {value}, but {name} is {list(limits)} (metres): they describe one map '
                'and have to agree in x and y. Set both alike'
            )
    for other, values in ranges_in(parts, ('ranges',)):
        if other.endswith('anchor_generator.ranges'):
            for value in values:
                _refuse_other_anchors(other, value, name, limits)


def _refuse_other_anchors(other: str, value: list, name: str, limits: Sequence[float]) -> None:
    refuse_outside(other, [value[i] for i in (0, 1, 3, 4)], name, limits)
    for axis in (0, 1):
        span = limits[axis + 3] - limits[axis]
        # Anchors are spread over all cells of the map, whatever range they are given.
        if value[axis + 3] - value[axis] < _LEAST_SHARE * span:
            raise SettingError(
                f'{other} covers {value[axis]:g} to {value[axis + 3]:g} m in {"xy"[axis]}, but '
                f'{name} is {list(limits)}: anchors would not lie on the cells that they are of. '
                'Set both alike'
            )


def refuse_outside(other: str, bounds: Sequence[float], name: str, limits: Sequence[float]) -> None:
    """Stop where something is wanted from beyond the map.

    Args:
        other: name of the setting that has to lie inside.
        bounds: ``(x_min, y_min, x_max, y_max)``, metres.
        name: of the setting that the map's range comes from.
        limits: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.

    Raises:
        SettingError: a part lies outside, names both settings; or it is no range.
    """
    if len(bounds) != 4:
        raise SettingError(f'{other}: expected (x_min, y_min, x_max, y_max), got {[*bounds]}')
    low, high = bounds[:2], bounds[2:]
    if any(
        low[axis] < limits[axis] - _TOLERANCE or high[axis] > limits[axis + 3] + _TOLERANCE
        for axis in (0, 1)
    ):
        raise SettingError(
            f'{other} reaches from x {low[0]:g}, y {low[1]:g} to x {high[0]:g}, y {high[1]:g} m, '
            f'beyond the map: {name} is {list(limits)}. Make the one smaller or the other larger'
        )
