"""Whatever the Point Cloud Library and LiDARs' drivers write as ``.pcd``."""

import warnings
from pathlib import Path

import lzf
import numpy as np
import pytest

from turbotrain.datasets.readers import DataFileError, pcd, read_point_cloud

ENCODINGS = ('ascii', 'binary', 'binary_compressed')
CLOUD = np.random.default_rng(0).uniform(-40, 40, (60, 4)).round(3).astype('<f4')
CLOUD[:, 3] = np.arange(60)  # a whole number in a byte, too

# Fields as name, TYPE, SIZE, COUNT; what is none of x, y, z and intensity holds noise.
XYZ = [('x', 'F', 4, 1), ('y', 'F', 4, 1), ('z', 'F', 4, 1)]
INTENSITY = ('intensity', 'F', 4, 1)
LAYOUTS = {
    'plain': [*XYZ, INTENSITY],
    'padding of no bytes': [
        *XYZ, ('_', 'U', 1, 4), INTENSITY, ('ring', 'U', 2, 1), ('_', 'U', 1, 0), ('t', 'U', 4, 1),
        ('_', 'U', 1, 6),
    ],
    'no bytes in between': [('_', 'F', 8, 0), XYZ[0], ('a', 'I', 2, 0), *XYZ[1:], INTENSITY],
    'normals first': [('normal', 'F', 4, 3), ('histogram', 'F', 4, 308), *XYZ, INTENSITY],
    'doubles': [('x', 'F', 8, 1), ('y', 'F', 8, 1), ('z', 'F', 8, 1), ('intensity', 'F', 8, 1)],
    'another order': [INTENSITY, ('z', 'F', 4, 1), ('t', 'I', 8, 1), ('y', 'F', 8, 1), XYZ[0]],
    'a byte': [*XYZ, ('intensity', 'U', 1, 1)],
    'two bytes': [*XYZ, ('ring', 'I', 2, 1), ('intensity', 'U', 2, 1)],
    'capitals': [('X', 'F', 4, 1), ('Y', 'F', 4, 1), ('Z', 'F', 4, 1), ('Intensity', 'F', 4, 1)],
    'i': [*XYZ, ('i', 'F', 4, 1)],
    'reflectivity': [*XYZ, ('ambient', 'U', 2, 1), ('reflectivity', 'U', 2, 1)],
    'remission': [*XYZ, ('remission', 'F', 4, 1)],
    'both': [*XYZ, ('reflectivity', 'I', 2, 2), ('rgb', 'F', 4, 1), INTENSITY],
}  # fmt: skip


def pcd_file(
    points: np.ndarray,
    layout: list[tuple],
    encoding: str,
    change=lambda header: header,
    height: int = 1,
) -> bytes:
    """A file, written without the reader's help; ``change`` edits the header's text."""
    noise = np.random.default_rng(1)
    columns, intensity = [], ('intensity', 'i', 'reflectivity', 'remission')
    for name, kind, size, count in layout:
        number = 'xyz'.find(name.lower())
        if count == 1 and (number >= 0 or name.lower() in intensity):
            values = points[:, number, None]
        else:
            values = noise.integers(0, 99, (len(points), count))
        columns.append(values.astype(f'<{kind.lower()}{size}'))
    words = [' '.join(map(str, column)) for column in zip(*layout, strict=True)]
    names, kinds, sizes, counts = words
    header = change(
        f'# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS {names}\nSIZE {sizes}\n'
        f'TYPE {kinds}\nCOUNT {counts}\nWIDTH {len(points) // height}\nHEIGHT {height}\n'
        f'VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points)}\nDATA {encoding}\n'
    ).encode()
    if encoding == 'ascii':
        rows = [
            ' '.join(str(value) for column in columns for value in column[i].tolist())
            for i in range(len(points))
        ]
        return header + '\n'.join([*rows, '']).encode()
    if encoding == 'binary':
        return header + b''.join(
            column[i].tobytes() for i in range(len(points)) for column in columns
        )
    raw = b''.join(column.tobytes() for column in columns)
    packed = lzf.compress(raw, 2 * len(raw) + 64) or b''
    return header + np.array([len(packed), len(raw)], dtype='<u4').tobytes() + packed


def read(folder: Path, content: bytes) -> np.ndarray:
    (folder / 'a.pcd').write_bytes(content)
    return read_point_cloud(str(folder / 'a.pcd'))


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_fields_of_any_kind(tmp_path, layout, encoding):
    found = read(tmp_path, pcd_file(CLOUD, LAYOUTS[layout], encoding))
    np.testing.assert_array_equal(found, CLOUD)
    assert found.dtype == np.float32 and found.flags.writeable


def without(key: str):
    return lambda header: ''.join(
        line for line in header.splitlines(keepends=True) if not line.startswith(key)
    )


HEADERS = {
    'no COUNT': without('COUNT'),
    'no WIDTH': without('WIDTH'),
    'no HEIGHT': without('HEIGHT'),
    'no POINTS': without('POINTS'),
    'no POINTS and no HEIGHT': lambda h: without('POINTS')(without('HEIGHT')(h)),
    'no VIEWPOINT and no VERSION': lambda h: without('V')(h),
    'another viewpoint': lambda h: h.replace('0 0 0 1 0 0 0', '1 2 3 1 0 0 0'),
    'comments': lambda h: h.replace('WIDTH', '# WIDTH 7\n#DATA ascii\n\nWIDTH'),
    'CRLF': lambda h: h.replace('\n', '\r\n'),
    'capitals': lambda h: h[: h.index('DATA')] + h[h.index('DATA') :].upper(),
    'tabs': lambda h: h.replace(' ', '\t'),
    'lower-case types': lambda h: h.replace('F F F F', 'f f f f'),
}


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('header', HEADERS)
def test_headers_of_any_kind(tmp_path, header, encoding):
    content = pcd_file(CLOUD, LAYOUTS['plain'], encoding, HEADERS[header])
    assert content != pcd_file(CLOUD, LAYOUTS['plain'], encoding)
    np.testing.assert_array_equal(read(tmp_path, content), CLOUD)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_organised_clouds_lines_of_dos_and_points_that_are_none(tmp_path, encoding):
    cloud = CLOUD.copy()
    cloud[::3, :3] = np.nan
    content = pcd_file(cloud, LAYOUTS['plain'], encoding, height=6)
    assert b'WIDTH 10\n' in content
    if encoding == 'ascii':
        content = content.replace(b'\n', b'\r\n')
    np.testing.assert_array_equal(read(tmp_path, content), cloud[np.arange(60) % 3 > 0])
    assert read(tmp_path, pcd_file(CLOUD[:0], LAYOUTS['plain'], encoding)).shape == (0, 4)


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('kind', ['F', 'U'])
def test_colours(tmp_path, encoding, kind):
    red = np.arange(60, dtype='<u4') * 4
    packed = 0xFF << 24 | red << 16 | 77
    column = packed if kind == 'U' else (packed & 0xFFFFFF).view('<f4')
    table = np.zeros(60, [('xyz', '<f4', 3), ('rgb', column.dtype)])
    table['xyz'], table['rgb'] = CLOUD[:, :3], column
    layout = [*XYZ, ('rgb', kind, 4, 1)]
    content = pcd_file(CLOUD, layout, encoding)
    header = content[: content.index(b'DATA')] + f'DATA {encoding}\n'.encode()
    if encoding == 'ascii':
        body = '\n'.join(' '.join(map(repr, (*p.tolist(), c))) for p, c in table.tolist()).encode()
    elif encoding == 'binary':
        body = table.tobytes()
    else:
        raw = CLOUD[:, :3].T.tobytes() + column.tobytes()
        packed = lzf.compress(raw, 2 * len(raw))
        body = np.array([len(packed), len(raw)], dtype='<u4').tobytes() + packed
    np.testing.assert_allclose(read(tmp_path, header + body)[:, 3], red / 255, atol=1e-6)


def test_one_warning_where_there_is_no_intensity(tmp_path):
    pcd._warn_without_intensity.cache_clear()
    for i, encoding in enumerate(ENCODINGS * 2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            found = read(tmp_path, pcd_file(CLOUD, [*XYZ, ('ring', 'U', 2, 1)], encoding))
        np.testing.assert_array_equal(found[:, :3], CLOUD[:, :3])
        assert not found[:, 3].any()
        assert [str(w.message).count('x y z ring') for w in caught] == [1] * (i == 0)


@pytest.mark.parametrize(
    ('old', 'new', 'word'),
    [
        ('POINTS 60', 'POINTS 59', 'WIDTH x HEIGHT'),
        ('HEIGHT 1', 'HEIGHT 2', 'WIDTH x HEIGHT'),
        ('WIDTH 60\nHEIGHT 1\n', 'HEIGHT 60\n', None),
        ('COUNT 1 1 1 1', 'COUNT 1 1 1', 'COUNT'),
        ('COUNT 1 1 1 1', 'COUNT 1 1 0 2', 'COUNT'),
        ('COUNT 1 1 1 1', 'COUNT', 'COUNT'),
        ('COUNT 1 1 1 1', 'COUNT 1 1 1 -1', 'COUNT'),
        ('COUNT 1 1 1 1', 'COUNT 1 1 1 99999999999999999999', 'COUNT'),
        ('COUNT 1 1 1 1', 'COUNT 1 1 1 9999999999999999999', 'COUNT'),
        ('SIZE 4 4 4 4', 'SIZE 4 4 4 1', 'SIZE'),
        ('TYPE F F F F', 'TYPE F F F FU', 'TYPE'),
        ('DATA ', 'DATA x', 'DATA'),
        ('FIELDS x y z', 'FIELDS x y y', 'FIELDS'),
        ('FIELDS', 'FIELDS a b c\nFIELDS', "'FIELDS' stands twice"),
        ('WIDTH', 'fields x\nWIDTH', "'fields' stands twice"),
        ('POINTS', 'Points 7\n# POINTS 9\nPOINTS', "'POINTS' stands twice"),
        ('SIZE', 'WIDTH 60\x0cSIZE 1 1 1 1\nSIZE', "'SIZE' stands twice"),
        ('FIELDS', 'fields', None),
    ],
)
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_headers_that_cannot_be(tmp_path, encoding, old, new, word):
    content = pcd_file(CLOUD, LAYOUTS['plain'], encoding, lambda h: h.replace(old, new))
    if word is None:
        np.testing.assert_array_equal(read(tmp_path, content), CLOUD)
        return
    with pytest.raises(DataFileError, match=word) as error:
        read(tmp_path, content)
    assert len(str(error.value)) < len(str(tmp_path)) + 400


@pytest.mark.parametrize(
    ('sizes', 'counts', 'points'),
    [('1 1 1 1', '1 1 1 0', 5_000_000), ('1 1 1 1', '0 0 0 0', 10**12)],
)
def test_few_bytes_cannot_stand_for_many_points(tmp_path, sizes, counts, points):
    """Each point takes 16 bytes once it is read, however few it has in the file."""
    raw = bytes(points * sum(map(int, counts.split())) or 1)
    packed = lzf.compress(raw, len(raw) + 64)
    header = (
        f'FIELDS x y z i\nSIZE {sizes}\nTYPE U U U U\nCOUNT {counts}\nWIDTH {points}\n'
        'DATA binary_compressed\n'
    )
    body = np.array([len(packed), len(raw)], dtype='<u4').tobytes() + packed
    with pytest.raises(DataFileError, match='at most 4194304 points'):
        read(tmp_path, header.encode() + body)
