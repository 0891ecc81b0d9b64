"""Point Cloud Library's ``.pcd``: the header is checked here, pypcd4 does the rest."""

import io

import numpy as np
from pypcd4 import PointCloud

from .errors import DataFileError, said

__all__ = ['parse_pcd']

_MAX_HEADER = 4096  # bytes
# A back-reference of LZF, 3 bytes, stands for 264 bytes at most.
_LZF_RATIO = 88
# Ten times what any LiDAR of these datasets gives: packed, a file of a megabyte could be more.
_MAX_BYTES = 2**26
_SIZES = (1, 2, 4, 8)
_ENCODINGS = ('ascii', 'binary', 'binary_compressed')


def parse_pcd(path: str, content: memoryview) -> np.ndarray:
    """Turn a file's bytes into points.

    What the header promises is held against the bytes that are there before any memory is taken
    for it.

    Returns:
        (P, 4) float32 x, y, z, intensity.

    Raises:
        DataFileError: names the file and the header's key that is wrong.
    """
    header, body = _header(path, content)
    fields = header['FIELDS']
    sizes, counts = _integers(path, header, 'SIZE'), _integers(path, header, 'COUNT')
    if len(set(map(len, (fields, sizes, counts, header['TYPE'])))) != 1:
        raise DataFileError(path, f'expected as many SIZE, TYPE and COUNT as FIELDS, {len(fields)}')
    for key, values, known in (
        ('SIZE', sizes, _SIZES),
        ('COUNT', counts, range(1, 65)),
        ('TYPE', header['TYPE'], 'FIU'),
        ('DATA', header['DATA'], _ENCODINGS),
    ):
        if not all(value in known for value in values):
            raise DataFileError(path, f'header key {key!r}: cannot be {" ".join(map(str, values))}')
    missing = {'x', 'y', 'z'} - set(fields)
    if missing:
        raise DataFileError(path, f"header key 'FIELDS': {sorted(missing)} missing")
    for name, count in zip(fields, counts, strict=True):
        if name in ('x', 'y', 'z') and count != 1:
            raise DataFileError(path, f"header key 'COUNT': {name} has {count} values, expected 1")
    (points,) = _integers(path, header, 'POINTS', 1)
    if not points:
        return np.zeros((0, 4), dtype=np.float32)
    _check_size(path, header['DATA'][0], points, fields, sizes, counts, body)
    try:
        table = np.atleast_1d(PointCloud.from_fileobj(io.BytesIO(content)).pc_data)
    except Exception as error:  # a damaged body can raise nearly anything
        raise DataFileError(path, f'cannot be read as a .pcd ({said(error)})') from error
    if len(table) != points:
        raise DataFileError(
            path, f"header key 'POINTS': promises {points} points, the file has {len(table)}"
        )
    columns = [table[name] for name in 'xyz'] + [_intensity(table)]
    return np.stack([np.asarray(c, dtype=np.float32) for c in columns], axis=1)


def _header(path: str, content: memoryview) -> tuple[dict[str, list[str]], memoryview]:
    """Words by key, and what comes after the header."""
    start = bytes(content[:_MAX_HEADER])
    end = start.find(b'\n', max(start.find(b'\nDATA '), 0) + 1) + 1
    if b'\nDATA ' not in start or not end:
        raise DataFileError(path, "expected a .pcd header that ends with the key 'DATA'")
    lines = start[:end].decode('ascii', 'replace').splitlines()
    words = [line.split() for line in lines if line.strip() and not line.startswith('#')]
    header = {key: values for key, *values in words}
    header.setdefault('COUNT', ['1'] * len(header.get('FIELDS', [])))
    for key in ('FIELDS', 'SIZE', 'TYPE', 'WIDTH', 'HEIGHT', 'POINTS', 'DATA'):
        if not header.get(key):
            raise DataFileError(path, f'header key {key!r} is missing')
    return header, content[end:]


def _integers(
    path: str, header: dict[str, list[str]], key: str, count: int | None = None
) -> list[int]:
    words = header[key]
    if not all(w.isdecimal() and len(w) < 20 for w in words) or count not in (None, len(words)):
        raise DataFileError(
            path, f'header key {key!r}: expected whole numbers, got {" ".join(words)!r:.60}'
        )
    return [int(w) for w in words]


def _check_size(
    path: str,
    encoding: str,
    points: int,
    fields: list[str],
    sizes: list[int],
    counts: list[int],
    body: memoryview,
) -> None:
    size = points * sum(s * c for s, c in zip(sizes, counts, strict=True))
    if size > _MAX_BYTES:
        raise DataFileError(
            path, f"header key 'POINTS': {points} points are {size} bytes, more than {_MAX_BYTES}"
        )
    there = len(body)
    needed = dict(ascii=2 * points * len(fields) - 1, binary=size).get(encoding, 8)
    if encoding == 'binary_compressed' and there >= 8:
        packed, unpacked = np.frombuffer(body[:8], dtype='<u4').tolist()
        if unpacked != size:
            raise DataFileError(
                path, f"header key 'POINTS': {points} points are {size} bytes, not {unpacked}"
            )
        needed = 8 + max(packed, unpacked // _LZF_RATIO)
    if there < needed:
        raise DataFileError(
            path,
            f"header key 'POINTS': {points} points take at least {needed} bytes, {there} are "
            'there: the file is truncated',
        )


def _intensity(table: np.ndarray) -> np.ndarray:
    """The intensity of each point, 0 to 1 if it comes from a colour."""
    names = table.dtype.names
    for name in ('intensity', 'i'):
        if name in names:
            return table[name]
    if 'rgb' in names and table['rgb'].dtype.itemsize == 4:
        packed = np.ascontiguousarray(table['rgb']).view('<u4')
        return (packed >> 16 & 0xFF) / 255.0
    return np.zeros(len(table))
