"""What an agent sends: a feature map as bytes. docs/online.md has the layout.

Nothing is believed of bytes that come in: each length is held against what there is before memory
is taken for it, and nothing is run.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from ..errors import SettingError
from ..structures import as_pose
from .moment import KINDS

__all__ = ['HEADER_BYTES', 'PRECISIONS', 'MapMessage', 'MessageError', 'pack', 'unpack']

_MAGIC, _VERSION = b'TTmp', 1
_HEADER = struct.Struct('<4sBBBBIId12d6fHHHHIIII')
HEADER_BYTES = _HEADER.size
PRECISIONS = {'float32': np.dtype('<f4'), 'float16': np.dtype('<f2'), 'int8': np.dtype('u1')}
_SCALE = np.dtype('<f4')  # lowest value and step of an int8 map
_ZLIB, _SPARSE = 1, 2
_CENTIMETRES = 100.0
_LIMIT = 1e5  # m; no LiDAR sees that far
_SUM = struct.Struct('<I')  # the check sum, at the end of the header


class MessageError(Exception):
    """Bytes that are not taken; ``reason`` is a word to count them by."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class MapMessage:
    """One agent's fused map, and what the velocity head looks at.

    Attributes:
        model: number of the weights, which sender and receiver share.
        kind: ``vehicle`` or ``infrastructure``.
        id: from 1 up.
        time: of the newest cloud in it, seconds.
        world_from_agent: (4, 4) float64, of the map's frame: the agent's, or one that the ego had.
        limits: (6,) float32 ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres, of the map.
        values: (C, H, W) float32; 0 in cells that were not sent.
        cells: (H, W) bool, which cells are sent; None is for all.
        points: (P, 3) float32 of the newest cloud, metres, in that frame.
    """

    model: int
    kind: str
    id: int
    time: float
    world_from_agent: np.ndarray
    limits: np.ndarray
    values: np.ndarray
    cells: np.ndarray | None
    points: np.ndarray


def pack(message: MapMessage, precision: str = 'float32', compress: bool = False) -> bytes:
    """Write a message.

    Args:
        message: what is sent.
        precision: ``float32``; ``float16``; or ``int8``, 255 levels from the lowest value to the
            highest. With the last two, points are in centimetres.
        compress: by zlib.

    Raises:
        SettingError: the precision is another one.
    """
    if precision not in PRECISIONS:
        raise SettingError(f'precision: expected one of {[*PRECISIONS]}, got {precision!r}')
    parts, values = [], message.values
    if message.cells is not None:
        parts.append(np.packbits(message.cells).tobytes())
        values = values[:, message.cells]
    if precision == 'int8':
        low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
        step = max((np.float32(high) - np.float32(low)) / 255, np.finfo(np.float32).tiny)
        parts.append(np.array([low, step], dtype=_SCALE).tobytes())
        values = np.round((values - np.float32(low)) / np.float32(step)).clip(0, 255)
    elif precision == 'float16':
        values = values.clip(-65504, 65504)
    parts.append(values.astype(PRECISIONS[precision]).tobytes())
    points = message.points
    if precision != 'float32':
        points = np.round(points * _CENTIMETRES).clip(-32768, 32767)
    parts.append(points.astype(_point_type(precision)).tobytes())
    payload = b''.join(parts)
    raw = len(payload)
    if compress:
        payload = zlib.compress(payload, 1)
    flags = _ZLIB * compress | _SPARSE * (message.cells is not None)
    header = _HEADER.pack(
        _MAGIC,
        _VERSION,
        KINDS[message.kind],
        [*PRECISIONS].index(precision),
        flags,
        message.model,
        message.id,
        message.time,
        *message.world_from_agent[:3].ravel(),
        *message.limits,
        *message.values.shape,
        0,
        0 if message.cells is None else int(message.cells.sum()),
        len(message.points),
        raw,
        0,
    )
    header = header[: -_SUM.size]
    return header + _SUM.pack(zlib.crc32(payload, zlib.crc32(header))) + payload


def unpack(
    data: bytes, model: int, shape: tuple[int, int, int], limits: np.ndarray, max_points: int
) -> MapMessage:
    """Read a message.

    Args:
        data: as it has come.
        model: number of the receiver's weights.
        shape: (C, H, W) of the maps that they make.
        limits: (6,) float32, metres, of these maps.
        max_points: how many points may be in it.

    Raises:
        MessageError: it is not one that :func:`pack` has written for this receiver.
    """
    largest = HEADER_BYTES + 2 * _payload_bytes('float32', shape, None, max_points)
    if len(data) > largest:
        raise MessageError('oversized', f'has {len(data)} bytes, expected {largest} at most')
    if len(data) < HEADER_BYTES:
        raise MessageError('damaged', f'has {len(data)} bytes, a header has {HEADER_BYTES}')
    (
        magic, version, kind, precision, flags, weights, agent, time, *numbers, checked
    ) = _HEADER.unpack_from(data)  # fmt: skip
    pose, area = np.array(numbers[:12]).reshape(3, 4), np.float32(numbers[12:18])
    *found, unused, cells, points, raw = numbers[18:]
    if magic != _MAGIC:
        raise MessageError('foreign', f'begins with {magic!r}, expected {_MAGIC!r}')
    if version != _VERSION:
        raise MessageError('version', f'is of version {version}, expected {_VERSION}')
    payload = memoryview(data)[HEADER_BYTES:]
    header = memoryview(data)[: HEADER_BYTES - _SUM.size]
    if zlib.crc32(payload, zlib.crc32(header)) != checked:
        raise MessageError('damaged', 'its check sum is wrong')
    if weights != model or tuple(found) != shape or not np.array_equal(area, limits):
        raise MessageError(
            'model',
            f'is of weights {weights:08x} and a map {tuple(found)} of {area.tolist()}, expected '
            f'{model:08x} and {shape} of {limits.tolist()}',
        )
    if kind not in KINDS.values() or not 1 <= agent < 10**9:
        raise MessageError('damaged', f'is from an agent of kind {kind} and id {agent}')
    matrix = as_pose(np.concatenate([pose, [[0.0, 0, 0, 1]]]))
    if matrix is None or not np.isfinite(time):
        raise MessageError('damaged', 'its pose or its time is none')
    if precision >= len(PRECISIONS) or flags > (_ZLIB | _SPARSE) or unused:
        raise MessageError('damaged', f'precision {precision} or flags {flags} are unknown')
    name, sparse = [*PRECISIONS][precision], bool(flags & _SPARSE)
    if points > max_points or cells > shape[1] * shape[2] * sparse:
        raise MessageError('oversized', f'promises {points} points and {cells} cells')
    expected = _payload_bytes(name, shape, cells if sparse else None, points)
    if raw != expected:
        raise MessageError('damaged', f'promises {raw} bytes of payload, expected {expected}')
    body = _inflated(payload, raw) if flags & _ZLIB else payload
    if len(body) != raw:
        raise MessageError('damaged', f'has {len(body)} bytes of payload, expected {raw}')
    values, mask, cloud = _parts(body, name, shape, cells if sparse else None, points)
    if not np.isfinite(values).all() or not (np.abs(cloud) <= _LIMIT).all():
        raise MessageError('damaged', 'holds NaN, infinite values or points beyond 100 km')
    return MapMessage(weights, [*KINDS][kind], agent, time, matrix, area, values, mask, cloud)


def _point_type(precision: str) -> np.dtype:
    return np.dtype('<f4' if precision == 'float32' else '<i2')


def _payload_bytes(
    precision: str, shape: tuple[int, int, int], cells: int | None, points: int
) -> int:
    channels, height, width = shape
    mask = 0 if cells is None else -(-height * width // 8)
    scale = 2 * _SCALE.itemsize if precision == 'int8' else 0
    values = channels * (height * width if cells is None else cells)
    size = mask + scale + values * PRECISIONS[precision].itemsize
    return size + 3 * points * _point_type(precision).itemsize


def _inflated(payload: memoryview, raw: int) -> bytes:
    """What zlib has made smaller, of which no more than is wanted is made."""
    try:
        return zlib.decompressobj().decompress(payload, raw + 1)
    except zlib.error as error:
        raise MessageError('damaged', f'cannot be decompressed ({error})') from None


def _parts(
    body: bytes | memoryview,
    precision: str,
    shape: tuple[int, int, int],
    cells: int | None,
    points: int,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """The map (C, H, W) and its cells (H, W), and points (P, 3), of a body of the right length."""
    channels, height, width = shape
    place, mask = 0, None

    def take(dtype: np.dtype, count: int) -> np.ndarray:
        nonlocal place
        found = np.frombuffer(body, dtype, count, place)
        place += found.nbytes
        return found

    if cells is not None:
        bits = np.unpackbits(take(np.dtype('u1'), -(-height * width // 8)))
        mask = bits[: height * width].reshape(height, width).astype(bool)
        if bits.sum() != cells or mask.sum() != cells:
            raise MessageError('damaged', f'promises {cells} cells and names {bits.sum()}')
    scale = take(_SCALE, 2) if precision == 'int8' else None
    count = height * width if cells is None else cells
    sent = take(PRECISIONS[precision], channels * count).astype(np.float32)
    if scale is not None:
        with np.errstate(all='ignore'):
            sent = sent * scale[1] + scale[0]
    if mask is None:
        values = sent.reshape(shape)
    else:
        values = np.zeros(shape, dtype=np.float32)
        values[:, mask] = sent.reshape(channels, count)
    cloud = take(_point_type(precision), 3 * points).reshape(-1, 3).astype(np.float32)
    return values, mask, cloud if precision == 'float32' else cloud / np.float32(_CENTIMETRES)
