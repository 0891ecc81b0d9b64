"""Cameras of every layout: the same pictures, and boxes where the scene's geometry has them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.cameras import Sight, write_pictures
from tests.dair import put
from tests.layouts import matrix, rewrite
from turbotrain.datasets import V2XPnPDataset, build_infos, save_infos
from turbotrain.datasets.readers import (
    DIALECTS,
    EXTRINSICS,
    DataFileError,
    read_cameras,
    read_image,
)
from turbotrain.errors import SettingError
from turbotrain.structures import corners_of, invert_rigid, transform_points

LAYOUTS = ('v2xpnp', 'v2xreal', 'opv2v', 'dair_v2x_c', 'v2x_seq')


@pytest.fixture(scope='module')
def written(tmp_path_factory) -> tuple[dict[str, Path], dict[tuple[int, str], Sight]]:
    roots = {name: tmp_path_factory.mktemp('cameras') / name for name in LAYOUTS}
    sights = write_pictures(roots['v2xpnp'])
    for name in LAYOUTS[1:]:
        rewrite(roots['v2xpnp'], roots[name], name)
    return roots, sights


@pytest.fixture
def root(written, tmp_path) -> Path:
    """The set of V2XPnP-Seq, to be damaged."""
    return shutil.copytree(written[0]['v2xpnp'], tmp_path / 'set')


def clouds_of(root: Path, dataset: str) -> dict[int, str]:
    infos = build_infos(str(root), 'train', dataset)
    return {int(a): str(root / c) for a, c in zip(infos.agent, infos.cloud, strict=True)}


def names_of(dataset: str, camera: str) -> list[str]:
    """How a dataset calls the simulator's cameras."""
    number = int(camera[3:])
    if dataset in ('dair_v2x_c', 'v2x_seq'):
        return ['camera'] * (number == 1)
    return [f'camera{number - 1}' if dataset == 'opv2v' else camera]


@pytest.mark.parametrize('dataset', LAYOUTS)
def test_a_known_box_is_in_the_pixels_that_show_it(written, dataset):
    """Its label, through the dataset and the calibration, against rays cast at its mesh."""
    root, sights = written[0][dataset], written[1]
    infos = build_infos(str(root), 'train', dataset)
    save_infos(str(root / 'infos.npz'), infos)
    opened = V2XPnPDataset(
        'infos.npz', str(root), dict(vehicle=infos.class_names.tolist()), num_history=0,
        num_future=0, test_mode=True,
    )  # fmt: skip
    sample = opened.get_data_info(0)
    agents, boxes = sample['agents'], sample['gt_bboxes_3d']
    assert len(boxes) == 1
    whole = []
    for n, agent in enumerate(agents.ids.tolist()):
        lidar_from_ego = invert_rigid(agents.ego_from_agent[n, -1])
        found = {c.name: c for c in read_cameras(sample['cloud_paths'][n], DIALECTS[dataset])}
        expected = {
            name: sight
            for (owner, camera), sight in sights.items()
            for name in names_of(dataset, camera)
            if owner == agent
        }
        assert list(found) == list(expected)
        for name, camera in found.items():
            picture, silhouette = expected[name]
            seen = read_image(camera)
            assert seen.dtype == np.uint8 and seen.shape == picture.shape
            assert np.abs(seen.astype(int) - picture).mean() < 2, 'a picture of another camera'
            corners = transform_points(
                camera.camera_from_lidar @ lidar_from_ego, corners_of(boxes)[0]
            )
            if (corners[:, 2] < 0).any():
                assert not silhouette.any()
                continue
            image = corners @ camera.intrinsics.T
            image = image[:, :2] / image[:, 2:]
            rows, columns = np.nonzero(silhouette)
            if not len(rows) or min(rows.min(), columns.min()) == 0:
                continue
            whole.append((agent, name))
            # A pixel, and a quarter for the box's tilt against the ego, which labels drop.
            for found_at, edge in ((np.min, image.min(0)), (np.max, image.max(0))):
                place = [found_at(columns), found_at(rows)]
                np.testing.assert_allclose(place, edge, atol=1.25)
    assert {agent for agent, _ in whole} == {1, -1}


def test_cameras_are_found_by_the_cloud_wherever_archives_were_unpacked(written, tmp_path):
    for dataset in ('dair_v2x_c', 'v2x_seq'):
        root = shutil.copytree(written[0][dataset], tmp_path / dataset)
        before = clouds_of(root, dataset)
        archive = dict(dair_v2x_c='cooperative-vehicle-infrastructure', v2x_seq='V2X-Seq-SPD')
        for side, agent in (('vehicle', 1), ('infrastructure', -1)):
            (picture,) = read_cameras(before[agent], DIALECTS[dataset])
            expected = read_image(picture)
            moved = root / f'{archive[dataset]}-{side}-side-image'
            (root / f'{side}-side/image').rename(moved)
            (camera,) = read_cameras(before[agent], DIALECTS[dataset])
            np.testing.assert_array_equal(read_image(camera), expected)
            apart = root / f'cooperative-vehicle-infrastructure-{side}-side-velodyne'
            (root / f'{side}-side/velodyne').rename(apart)
            after = clouds_of(root, dataset)[agent]
            assert 'side-velodyne' in after
            (camera,) = read_cameras(after, DIALECTS[dataset])
            np.testing.assert_array_equal(read_image(camera), expected)


def said_of(cloud: str, dataset: str = 'v2xpnp', **settings) -> str:
    """The sentence that reading cameras and their pictures ends with."""
    with pytest.raises(DataFileError) as error:
        for camera in read_cameras(cloud, DIALECTS[dataset], **settings):
            read_image(camera)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (None, 'is missing, and so is'),
        (b'', 'is no whole JPEG or PNG picture ('),
        (b'<html>not found</html>', 'is no whole JPEG'),
        (b'\xff\xd8\xff\xe0' + bytes(40), 'is no whole JPEG'),
        (slice(2000), 'is no whole JPEG'),
    ],
)
@pytest.mark.parametrize('dataset', ['v2xreal', 'opv2v', 'v2x_seq'])
def test_pictures_that_are_missing_or_damaged(written, tmp_path, dataset, content, expected):
    root = shutil.copytree(written[0][dataset], tmp_path / 'set')
    cloud = clouds_of(root, dataset)[1]
    camera = read_cameras(cloud, DIALECTS[dataset])[0]
    (path,) = (Path(image) for image in camera.images if Path(image).exists())
    if isinstance(content, slice):  # cut off
        content = path.read_bytes()[content]
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    said = said_of(cloud, dataset)
    assert said.startswith(f'{path.with_suffix("")}.') and expected in said


def change(path: Path, key: str, value: object) -> None:
    """Set, or with None remove, an entry of a camera."""
    content = yaml.safe_load(path.read_text())
    if value is None:
        del content['cam1'][key]
    else:
        content['cam1'][key] = value
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('extrinsic', None, "key 'cam1.extrinsic' is missing"),
        ('extrinsic', np.diag([1.0, 1.0, -1.0, 1.0]).tolist(), "'cam1.extrinsic': expected"),
        ('extrinsic', [[1.0, 0.0], [0.0, 1.0]], "'cam1.extrinsic': expected"),
        ('extrinsic', np.eye(4).tolist(), 'lower edge would not be below'),
        ('intrinsic', None, "key 'cam1.intrinsic' is missing"),
        ('intrinsic', 'none', "'cam1.intrinsic': expected [[fx"),
        ('intrinsic', [[0.0, 0, 9], [0, 5, 9], [0, 0, 1]], "'cam1.intrinsic': expected [[fx"),
        ('intrinsic', [[5.0, 0, 9], [0, 5, 9], [0, 0, 2]], "'cam1.intrinsic': expected [[fx"),
        ('intrinsic', [[5.0, 0, float('nan')], [0, 5, 9], [0, 0, 1]], 'expected [[fx'),
    ],
)
def test_calibrations_that_are_missing_or_wrong(root, key, value, expected):
    cloud = clouds_of(root, 'v2xpnp')[1]
    path = Path(cloud).with_suffix('.yaml')
    change(path, key, value)
    said = said_of(cloud)
    assert said.startswith(f'{path}: ') and expected in said


def test_annotations_without_cameras(root):
    cloud = clouds_of(root, 'v2xpnp')[1]
    path = Path(cloud).with_suffix('.yaml')
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if 'cam' not in k}))
    assert 'has no camera; expected keys like' in said_of(cloud)
    path.write_text(yaml.safe_dump(content | dict(cam1=[1, 2])))
    assert "key 'cam1': expected a mapping" in said_of(cloud)
    with pytest.raises(SettingError, match='has no cameras'):
        read_cameras(cloud, DIALECTS['v2v4real'])
    path.unlink()
    assert said_of(cloud) == f'{path}: is missing'


@pytest.mark.parametrize('agent', [1, -1])
def test_what_a_matrix_is_can_be_said_otherwise(root, agent):
    """One camera written in each way; read in another, it lies on its side or far away."""
    dialect, cloud = DIALECTS['v2xpnp'], clouds_of(root, 'v2xpnp')[agent]
    path = Path(cloud).with_suffix('.yaml')
    content = yaml.safe_load(path.read_text())
    kept = {key: value for key, value in content.items() if 'cam' not in key or key == 'cam1'}
    path.write_text(yaml.safe_dump(kept))
    (usual,) = read_cameras(cloud, dialect)
    lidar_from_camera = np.array(content['cam1']['extrinsic'])
    ways = dict(
        lidar_from_camera=lidar_from_camera,
        camera_from_lidar=np.linalg.inv(lidar_from_camera),
        world_from_camera=matrix(content['lidar_pose']) @ lidar_from_camera,
    )
    assert set(ways) == set(EXTRINSICS)
    for way, value in ways.items():
        change(path, 'extrinsic', value.tolist())
        (found,) = read_cameras(cloud, dialect, extrinsic=way)
        np.testing.assert_allclose(found.camera_from_lidar, usual.camera_from_lidar, atol=1e-4)
        for other in set(ways) - {way}:
            said = said_of(cloud, extrinsic=other)
            assert f'it was read as {other}' in said and way in said
    with pytest.raises(SettingError, match='extrinsic must be one of'):
        read_cameras(cloud, dialect, extrinsic='sideways')


@pytest.mark.parametrize('dataset', ['dair_v2x_c', 'v2x_seq'])
def test_calibrations_of_dair(written, tmp_path, dataset):
    root = shutil.copytree(written[0][dataset], tmp_path / 'set')
    dialect, cloud = DIALECTS[dataset], clouds_of(root, dataset)[-1]
    calib = root / 'infrastructure-side/calib'
    name = f'{Path(cloud).stem}.json'
    lens, mounting = calib / 'camera_intrinsic' / name, calib / 'virtuallidar_to_camera' / name
    (usual,) = read_cameras(cloud, dialect)
    projection = np.column_stack([usual.intrinsics, np.zeros(3)])
    text = [str(v) for v in projection.ravel()]
    for content in (dict(P=text), dict(P=projection.tolist()),
                    dict(cam_K=usual.intrinsics.tolist(), P=[0] * 12)):  # fmt: skip
        put(lens, content)
        (found,) = read_cameras(cloud, dialect)
        np.testing.assert_allclose(found.intrinsics, usual.intrinsics)
    for content, expected in (
        (dict(cam_D=[0.0] * 5), "key 'P' is missing"),
        (dict(cam_K=text[:8]), "key 'cam_K': expected 9 finite numbers"),
        (dict(cam_K=[0] * 9), "key 'cam_K': expected [[fx"),
        (None, f'{lens}: is missing'),
    ):
        lens.unlink() if content is None else put(lens, content)
        assert expected in said_of(cloud, dataset)
    put(lens, dict(P=text))
    place = np.array([[0.0], [0.0], [0.3]])
    for rotation, translation, expected in (
        (np.eye(3), place, 'lower edge would not be below'),
        (usual.camera_from_lidar[:3, :3], place * 100, 'the camera would be 30 m from its LiDAR'),
        (np.ones((3, 3)), place, 'expected a rotation'),
    ):
        put(mounting, dict(rotation=rotation.tolist(), translation=translation.tolist()))
        assert expected in said_of(cloud, dataset)
    mounting.unlink()
    assert said_of(cloud, dataset) == f'{mounting}: is missing'
    with pytest.raises(SettingError, match='say what their matrices are'):
        read_cameras(cloud, dialect, extrinsic='lidar_from_camera')
