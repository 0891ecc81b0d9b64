"""Point Cloud Library's ``.pcd``: ascii, binary or binary_compressed; x, y, z and intensity of it.

The header is read once, and what it promises is held against the bytes that are there before any
memory is taken for it. Columns are then views of the file's own bytes at the places that the header
gives: fields that nobody asks for may have any name and any length, none included.
"""

import re
import warnings
from functools import cache
from typing import NamedTuple

import lzf
import numpy as np

from .errors import DataFileError, said

__all__ = ['parse_pcd']

_MAX_HEADER = 4096  # bytes
_DATA = re.compile(rb'^DATA[ \t]+(\w+)[ \t]*\r?\n', re.MULTILINE)  # the header's last line
# A back-reference of LZF, 3 bytes, stands for 264 bytes at most.
_LZF_RATIO = 88
# Ten times what any LiDAR of these datasets gives: packed, a file of a megabyte could be more.
_MAX_BYTES = 2**26
_MAX_POINTS = _MAX_BYTES // 16  # each takes 16 bytes once it is read
_SHAPE = ('WIDTH', 'HEIGHT', 'POINTS')
_SIZES = {'F': (4, 8), 'I': (1, 2, 4, 8), 'U': (1, 2, 4, 8)}
_INTENSITIES = ('intensity', 'i', 'reflectivity', 'reflectance', 'remission')  # the first there is
_COLOURS = ('rgb', 'rgba')


class _Field(NamedTuple):
    """One entry of FIELDS: where its bytes begin in a point, and its words in a line of text."""

    name: str
    dtype: np.dtype
    count: int
    offset: int
    column: int


def parse_pcd(path: str, content: memoryview) -> np.ndarray:
    """Turn a file's bytes into points.

    Returns:
        (P, 4) float32 x, y, z, intensity: as it is in the file, 0 to 1 if it is the red of a packed
        colour, or 0 if there is neither.

    Raises:
        DataFileError: names the file and the header's key that is wrong.
    """
    header, encoding, body = _header(path, content)
    fields = _fields(path, header)
    points = _number_of_points(path, header)
    _check_size(path, encoding, points, fields, body)
    single = {field.name: field for field in reversed(fields) if field.count == 1}
    missing = sorted({'x', 'y', 'z'} - set(single))
    if missing:
        raise DataFileError(
            path, f"header keys 'FIELDS' and 'COUNT': expected {missing} with one value each"
        )
    wanted = [single[name] for name in 'xyz']
    bright = [single[name] for name in _INTENSITIES if name in single]
    bright += [single[name] for name in _COLOURS if name in single and _bytes(single[name]) == 4]
    if bright:
        wanted.append(bright[0])
    else:
        _warn_without_intensity(tuple(field.name for field in fields)[:20])
    cloud = np.zeros((points, 4), dtype=np.float32)
    if not points:
        return cloud
    try:
        columns = _columns(encoding, points, wanted, sum(map(_bytes, fields)), body)
        with np.errstate(all='ignore'):  # a number that float32 cannot hold becomes infinite
            for i, (field, column) in enumerate(zip(wanted, columns, strict=True)):
                cloud[:, i] = _red(field, column) if field.name in _COLOURS else column
    except Exception as error:  # a damaged body can raise nearly anything
        raise DataFileError(path, f'cannot be read as a .pcd ({said(error)})') from error
    return cloud


def _header(path: str, content: memoryview) -> tuple[dict[str, list[str]], str, memoryview]:
    """Words by key, the encoding, and what comes after the header."""
    start = bytes(content[:_MAX_HEADER])
    last = _DATA.search(start)
    if last is None:
        raise DataFileError(path, "expected a .pcd header that ends with the key 'DATA'")
    lines = start[: last.start()].decode('ascii', 'replace').splitlines()
    words = [line.split() for line in lines if line.strip() and not line.startswith('#')]
    header: dict[str, list[str]] = {}
    for key, *values in words:  # of two, another reader may take the other one
        if key.upper() in header:
            raise DataFileError(path, f'header key {key!r:.60} stands twice')
        header[key.upper()] = values
    for key in ('FIELDS', 'SIZE', 'TYPE'):
        if not header.get(key):
            raise DataFileError(path, f'header key {key!r} is missing')
    header.setdefault('COUNT', ['1'] * len(header['FIELDS']))
    encoding = last[1].decode('ascii', 'replace').lower()
    if encoding not in ('ascii', 'binary', 'binary_compressed'):
        raise DataFileError(path, f"header key 'DATA': cannot be {encoding:.60}")
    return header, encoding, content[last.end() :]


def _integers(path: str, header: dict[str, list[str]], key: str) -> list[int]:
    words = header[key]
    if not words or not all(w.isdecimal() and len(w) < 20 for w in words):
        raise DataFileError(
            path, f'header key {key!r}: expected whole numbers, got {" ".join(words)!r:.60}'
        )
    return [int(w) for w in words]


def _fields(path: str, header: dict[str, list[str]]) -> list[_Field]:
    names, kinds = header['FIELDS'], header['TYPE']
    sizes, counts = _integers(path, header, 'SIZE'), _integers(path, header, 'COUNT')
    if len({len(names), len(kinds), len(sizes), len(counts)}) != 1:
        raise DataFileError(path, f'expected as many SIZE, TYPE and COUNT as FIELDS, {len(names)}')
    fields, offset, column = [], 0, 0
    for name, kind, size, count in zip(names, kinds, sizes, counts, strict=True):
        if kind.upper() not in _SIZES:
            raise DataFileError(path, f"header key 'TYPE': cannot be {kind:.60}")
        if size not in _SIZES[kind.upper()]:
            raise DataFileError(path, f"header key 'SIZE': {kind} cannot have {size} bytes")
        dtype = np.dtype(f'<{kind.lower()}{size}')
        fields.append(_Field(name.lower(), dtype, count, offset, column))
        offset, column = offset + size * count, column + count
    return fields


def _bytes(field: _Field) -> int:
    return field.dtype.itemsize * field.count


def _number_of_points(path: str, header: dict[str, list[str]]) -> int:
    """POINTS, or the product of WIDTH and HEIGHT; any of the three may be missing, but not all."""
    found = {key: _integers(path, header, key)[0] for key in _SHAPE if key in header}
    width, height = found.get('WIDTH'), found.get('HEIGHT', 1)
    points = found.get('POINTS', None if width is None else width * height)
    if points is None:
        raise DataFileError(path, "header key 'POINTS' is missing")
    if width is not None and width * height != points:
        raise DataFileError(
            path, f"header key 'POINTS': expected WIDTH x HEIGHT, {width * height}, got {points}"
        )
    return points


def _check_size(
    path: str, encoding: str, points: int, fields: list[_Field], body: memoryview
) -> None:
    size = points * sum(map(_bytes, fields))
    what = f"header keys 'POINTS', 'SIZE' and 'COUNT': {points} points are {size} bytes"
    if size > _MAX_BYTES or points > _MAX_POINTS:
        raise DataFileError(
            path, f'{what}, expected at most {_MAX_POINTS} points and {_MAX_BYTES} bytes'
        )
    there = len(body)
    words = points * sum(field.count for field in fields)
    needed = {'ascii': 2 * words - 1, 'binary': size}.get(encoding, 8 * (points > 0))
    if encoding == 'binary_compressed' and there >= 8:
        packed, unpacked = np.frombuffer(body[:8], dtype='<u4').tolist()
        if unpacked != size:
            raise DataFileError(path, f'{what}, not {unpacked}')
        needed = 8 + max(packed, unpacked // _LZF_RATIO)
    if there < needed:
        raise DataFileError(
            path,
            f'{what} and take at least {needed} in the file, {there} are there: the file is '
            'truncated',
        )


def _columns(
    encoding: str, points: int, wanted: list[_Field], stride: int, body: memoryview
) -> list[np.ndarray]:
    """The (P,) values of each wanted field, all of which have one value a point."""
    if encoding == 'ascii':
        lines = bytes(body).decode('ascii').splitlines()
        columns = [field.column for field in wanted]
        table = np.loadtxt(lines, usecols=columns, comments=None, ndmin=2)
        if len(table) != points:
            raise ValueError(f"'POINTS' promises {points} points, there are {len(table)}")
        return list(table.T)
    if encoding == 'binary':
        return [np.ndarray(points, f.dtype, body, f.offset, (stride,)) for f in wanted]
    packed, unpacked = np.frombuffer(body[:8], dtype='<u4').tolist()
    raw = lzf.decompress(bytes(body[8 : 8 + packed]), unpacked)
    if raw is None or len(raw) != unpacked:
        raise ValueError(f'its packed part does not hold {unpacked} bytes')
    # Field after field, each of all points.
    return [np.ndarray(points, f.dtype, raw, f.offset * points) for f in wanted]


def _red(field: _Field, column: np.ndarray) -> np.ndarray:
    """The red of colours packed into the bits of 4-byte numbers, 0 to 1."""
    packed = np.ascontiguousarray(column, dtype=field.dtype).view('<u4')
    return (packed >> 16 & 0xFF) / 255.0


@cache
def _warn_without_intensity(names: tuple[str, ...]) -> None:
    """Once for each kind of file in a process."""
    warnings.warn(
        f'.pcd clouds with the fields {" ".join(names):.200} have no intensity '
        f'({", ".join(_INTENSITIES)}, or rgb of 4 bytes); it is read as 0',
        stacklevel=2,
    )
