"""Clouds of other columns than x, y, z, intensity under the name ``.bin``."""

import numpy as np
import pytest

from turbotrain.datasets.readers import (
    DataFileError,
    guess_layout,
    read_point_cloud,
)

INTENSITIES = {
    'zero': lambda rng, n: np.zeros(n),
    'to 1': lambda rng, n: rng.beta(1, 4, n),
    'to 255': lambda rng, n: rng.binomial(255, rng.beta(1, 4, n)),
    'constant': lambda rng, n: np.full(n, 0.5),
}


def scan(points: int = 4000, beams: int = 32, intensity: str = 'to 1', seed: int = 0) -> dict:
    """Columns of one turn of a LiDAR between walls, beam after beam at each azimuth."""
    rng = np.random.default_rng(seed)
    ring = np.arange(points) % beams
    azimuth = np.arange(points) // beams / (points // beams) * 2 * np.pi
    elevation = np.deg2rad(-24 + 34 * ring / beams)
    walls = np.interp(azimuth, np.linspace(0, 7, 30), rng.uniform(5, 60, 30))
    ground = 1.9 / np.sin(np.maximum(-elevation, 1e-3))
    distance = np.minimum(walls, ground) + rng.normal(0, 0.02, points)
    flat = distance * np.cos(elevation)
    return dict(
        x=flat * np.cos(azimuth),
        y=flat * np.sin(azimuth),
        z=distance * np.sin(elevation),
        intensity=INTENSITIES[intensity](rng, points),
        ring=ring,
        time=azimuth / 63,
        rgb=rng.integers(0, 256, points),
    )


def rows(names: str, dtype: str = '<f4', **settings) -> np.ndarray:
    columns = scan(**settings)
    return np.stack([columns[name] for name in names.split()], axis=1).astype(dtype)


OTHERS = [
    ('x y z', '<f4'),
    ('x y z intensity ring', '<f4'),
    ('x y z intensity time', '<f4'),
    ('x y z intensity ring time', '<f4'),
    ('x y z rgb rgb rgb', '<f4'),
    ('x y z intensity', '<f8'),
    ('x y z', '<f8'),
]


@pytest.mark.parametrize('intensity', INTENSITIES)
@pytest.mark.parametrize('seed', range(3))
def test_good_clouds_are_read_as_they_are(tmp_path, intensity, seed):
    for points, beams in ((40, 8), (400, 16), (4000, 32), (20_000, 40), (60_000, 64)):
        cloud = rows('x y z intensity', points=points, beams=beams, intensity=intensity, seed=seed)
        lost = np.random.default_rng(seed).random(points) < 0.1 * seed
        for order in (np.arange(points), np.lexsort((cloud[:, 2], lost))):
            good = np.where(lost[:, None], np.float32(np.nan), cloud)[order]
            layout = guess_layout(good.tobytes())
            assert points < 400 or layout[:2] == ('<f4', 4)
            good.tofile(tmp_path / 'a.bin')
            found = read_point_cloud(str(tmp_path / 'a.bin'))
            np.testing.assert_array_equal(found, cloud[order][~lost[order]])


@pytest.mark.parametrize(('names', 'dtype'), OTHERS)
@pytest.mark.parametrize('points', [500, 4000, 60_001])
def test_clouds_of_other_columns_are_refused_by_name(tmp_path, names, dtype, points):
    """Whether or not their size is a multiple of 16."""
    columns = len(names.split())
    for intensity in INTENSITIES:
        for cloud in (
            rows(names, dtype, points=points, intensity=intensity),
            np.random.default_rng(0).permutation(rows(names, dtype, points=points)),
        ):
            layout = guess_layout(cloud.tobytes())
            assert layout[:2] == (dtype, columns) and layout.confidence > 0.6
            cloud.tofile(tmp_path / 'a.bin')
            word = f'rows of {columns} {cloud.dtype}'
            with pytest.raises(DataFileError, match=f'{word}.*x, y, z, intensity') as error:
                read_point_cloud(str(tmp_path / 'a.bin'))
            assert str(tmp_path / 'a.bin') in str(error.value)


def test_nothing_is_guessed_where_columns_are_alike(tmp_path):
    rng = np.random.default_rng(0)
    for cloud in (
        rng.uniform(-40, 40, (5000, 4)),
        rng.normal(0, 1, (5000, 4)),
        np.full((5000, 4), np.nan),
        np.full((5000, 4), -1.0),
        rows('x y z intensity ring', points=40),
    ):
        cloud = cloud.astype('<f4')
        assert guess_layout(cloud.tobytes()) is None
        cloud.tofile(tmp_path / 'a.bin')
        assert read_point_cloud(str(tmp_path / 'a.bin')).shape[1] == 4
    assert guess_layout(b'') is None
