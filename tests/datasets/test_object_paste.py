import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmdet3d.registry import TRANSFORMS

from turbotrain.datasets import V2XPnPDataset, build_infos, save_infos
from turbotrain.datasets.object_database import (
    build_object_database,
    load_objects,
    save_objects,
)
from turbotrain.datasets.readers import DataFileError
from turbotrain.datasets.transforms import CooperativeObjectPaste, LoadCooperativePoints
from turbotrain.structures import (
    corners_of,
    invert_rigid,
    pose_to_matrix,
    transform_points,
)

CLASSES = dict(vehicle=['Car', 'PoliceCar', 'Van', 'Truck', 'Bus', 'LongVehicle'])
LOAD = dict(type='LoadCooperativePoints', body_mask=None)
STEPS = dict(num_history=2, num_future=3, class_map=CLASSES)


@pytest.fixture(scope='module')
def base(tiny_set, tmp_path_factory) -> V2XPnPDataset:
    path = tmp_path_factory.mktemp('infos') / 'train.npz'
    save_infos(str(path), build_infos(str(tiny_set), 'train'))
    return V2XPnPDataset(str(path), str(tiny_set), ego='every', pipeline=[LOAD], **STEPS)


@pytest.fixture(scope='module')
def database(base, tmp_path_factory) -> str:
    objects = build_object_database(base, stride=1)
    path = tmp_path_factory.mktemp('objects') / 'objects.npz'
    # Lifted over all buildings and pushed aside, so that several find room.
    for e in range(len(objects.label)):
        objects.centre[e, :, :2] += [12.0 * (e % 5) - 24, 9.0 * (e % 3) + 12]
    save_objects(str(path), objects)
    return str(path)


def paste(base, database, index: int, number: int = 60, **kwargs) -> tuple[dict, dict]:
    """A sample before and after."""
    transform = TRANSFORMS.build(
        dict(type='CooperativeObjectPaste', database=database, numbers=dict(vehicle=number))
        | kwargs
    )
    return base[index], transform(base[index])


def new_of(before: dict, after: dict) -> np.ndarray:
    return np.arange(len(before['gt_bboxes_3d']), len(after['gt_bboxes_3d']))


def test_pasted_objects_are_seen_where_they_are_labelled(base, database):
    counts = [check_pasted(base, database, index) for index in range(3, 15, 2)]
    objects, points = np.sum(counts, axis=0)
    assert objects >= 6 and points > 300


def check_pasted(base, database, index: int) -> tuple[int, int]:
    before, after = paste(base, database, index)
    new = new_of(before, after)
    agents, objects = after['agents'], load_objects(database)
    t = agents.num_frames
    seen = 0
    for k in new:
        # Which entry it was is told by its path.
        same = np.isclose(objects.centre[:, t - 1, :2], after['gt_bboxes_3d'][k, :2]).all(1)
        entry = int(np.flatnonzero(same)[0])
        np.testing.assert_allclose(
            after['gt_future_trajectories'][k], objects.centre[entry, t:, :2]
        )
        assert after['gt_track_ids'][k] < 0
        bottom = objects.centre[entry, t - 1] - [0, 0, objects.size[entry, 2] / 2]
        label = [*bottom, *objects.size[entry], objects.yaw[entry, t - 1]]
        np.testing.assert_allclose(after['gt_bboxes_3d'][k], label, atol=1e-5)
        for n, step in zip(*np.nonzero(agents.valid), strict=True):
            cloud = after['points'][n * t + step]
            yaw = np.rad2deg(objects.yaw[entry, step])
            box = pose_to_matrix([*objects.centre[entry, step], 0, yaw, 0])
            in_box = transform_points(
                invert_rigid(box) @ agents.ego_from_agent[n, step], cloud.astype(np.float64)
            )[:, :3]
            inside = (np.abs(in_box) <= objects.size[entry] / 2 + 1e-3).all(axis=1)
            count = len(objects.points[objects.begin[entry] : objects.begin[entry + 1]])
            assert inside.sum() <= count
            if not objects.known[entry, step]:
                continue
            seen += inside.sum()
            # Nothing is left that it hides: no way from the sensor to a point leads through it.
            sensor = (invert_rigid(box) @ agents.ego_from_agent[n, step])[:3, 3]
            half = objects.size[entry] / 2 - 0.02
            with np.errstate(divide='ignore'):
                one, other = (
                    (half - sensor) / (in_box - sensor),
                    (-half - sensor) / (in_box - sensor),
                )
            enter = np.minimum(one, other).max(axis=1)
            leave = np.maximum(one, other).min(axis=1)
            hidden = (enter < leave) & (leave > 0) & (enter < 1) & ~inside
            assert not hidden.any()
    return len(new), seen


@pytest.mark.parametrize('delay', [0.2, 0.04, -0.05])
def test_late_clouds_show_objects_where_they_were_then(base, database, delay):
    """Between the steps that are known, and where they are if no other step is."""
    transform = CooperativeObjectPaste(database, {})
    objects = transform.objects
    chosen = np.flatnonzero(objects.known.all(axis=1))[:3]
    objects.known[chosen[0], :2] = objects.known[chosen[0], 3:] = False
    objects.centre[:, :, 0] += np.linspace(-3, 3, len(objects.time_offsets))  # so that all move
    sample = base[6]
    agents, times = sample['agents'], objects.time_offsets
    assert len(agents) > 1 and agents.valid.all() and len(chosen) == 3
    delays = np.where(np.arange(len(agents)) == 1, delay, 0.0).astype('f4')
    sample['agents'], now = replace(agents, delays=delays), agents.num_frames - 1
    for entry in chosen:
        sample['points'] = [cloud[:0] for cloud in sample['points']]
        transform._paste([int(entry)], sample)
        for n in (0, 1):
            places = np.column_stack([objects.centre[entry], np.unwrap(objects.yaw[entry])])
            pose = [np.interp(times[now] - delays[n], times, column) for column in places.T]
            if entry == chosen[0]:
                pose = places[now]
            box = pose_to_matrix([*pose[:3], 0, np.rad2deg(pose[3]), 0])
            cloud = sample['points'][n * agents.num_frames + now].astype(np.float64)
            own = transform_points(invert_rigid(box) @ agents.ego_from_agent[n, now], cloud)
            assert len(own) and (np.abs(own[:, :3]) <= objects.size[entry] / 2 + 1e-3).all()


def test_nothing_comes_too_close_at_any_step(base, database):
    before, after = paste(base, database, 6, clearance=1.0)
    new = new_of(before, after)
    assert len(new)
    paths = np.concatenate([after['gt_history_trajectories'], after['gt_future_trajectories']], 1)
    known = np.concatenate([after['gt_history_valid'], after['gt_future_valid']], 1)
    radii = np.hypot(*after['gt_bboxes_3d'][:, 3:5].T) / 2
    for k in new:
        others = np.arange(len(paths)) != k
        gap = np.linalg.norm(paths - paths[k], axis=-1) - (radii + radii[k])[:, None]
        assert (gap[(known & known[k]) & others[:, None]] >= 1.0 - 1e-9).all()
    assert len(new_of(*paste(base, database, 6, clearance=500.0))) == 0


def test_what_was_there_stays_or_is_hidden(base, database):
    before, after = paste(base, database, 6)
    for key in [key for key in before if key.startswith('gt_')]:
        old = before[key]
        np.testing.assert_array_equal(after[key][: len(old)], old)
        assert after[key].dtype == old.dtype
        assert len(after[key]) == len(after['gt_bboxes_3d'])
    for old, new in zip(before['points'], after['points'], strict=True):
        assert new.dtype == np.float32
        kept = {row.tobytes() for row in old} & {row.tobytes() for row in new}
        assert len(kept) > 0.5 * len(old)


def test_objects_without_a_point_in_any_cloud_get_no_label(base, database):
    before, after = paste(base, database, 6)
    new = new_of(before, after)
    assert len(new) > 2
    # A dome close to every sensor hides all that is pasted.
    azimuth, elevation = np.meshgrid(np.arange(-180, 180, 0.4), np.arange(-89, 89, 0.4))
    azimuth, elevation = np.deg2rad(azimuth.ravel()), np.deg2rad(elevation.ravel())
    dome = 0.5 * np.column_stack([
        np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
        np.sin(elevation), np.zeros(len(azimuth)),
    ]).astype('f4')  # fmt: skip
    sample = base[6]
    valid = sample['agents'].valid.ravel()
    sample['points'] = [dome.copy() if ok else dome[:0] for ok in valid]
    transform = TRANSFORMS.build(
        dict(type='CooperativeObjectPaste', database=database, numbers=dict(vehicle=60))
    )
    hidden = transform(sample)
    assert len(hidden['gt_bboxes_3d']) == len(before['gt_bboxes_3d'])
    for points, ok in zip(hidden['points'], valid, strict=True):
        np.testing.assert_array_equal(points, dome if ok else dome[:0])


def test_invalid_clouds_stay_empty(base, database):
    before, after = paste(base, database, 0)  # no past yet
    valid = after['agents'].valid.ravel()
    assert not valid.all()
    assert [len(p) > 0 for p in after['points']] == valid.tolist()


def test_seeded_and_filled_up_to_the_number(base, database):
    (before, one), (_, other) = paste(base, database, 6), paste(base, database, 6)
    for a, b in zip(one['points'], other['points'], strict=True):
        np.testing.assert_array_equal(a, b)
    there = len(before['gt_bboxes_3d'])
    assert len(paste(base, database, 6, number=there + 1)[1]['gt_bboxes_3d']) == there + 1
    assert len(paste(base, database, 6, number=there)[1]['gt_bboxes_3d']) == there


def test_augmentation_keeps_points_in_pasted_boxes(base, database):
    before, after = paste(base, database, 6)
    new = new_of(before, after)
    rest = [
        dict(type='CooperativeGlobalAugmentation', flip_probability=1.0),
        dict(type='ProjectPointsToEgo'),
    ]
    t = after['agents'].num_frames

    def inside(results: dict) -> list[int]:
        now = np.concatenate(results['points'][t - 1 :: t])[:, :3].astype(np.float64)
        boxes = results['gt_bboxes_3d'][new].copy()
        boxes[:, :2] -= 0
        counts = []
        for box in boxes:
            yaw, centre = box[6], box[:3] + [0, 0, box[5] / 2]
            local = transform_points(
                invert_rigid(pose_to_matrix([*centre, 0, np.rad2deg(yaw), 0])), now
            )
            counts.append(int((np.abs(local) <= box[3:6] / 2 + 2e-3).all(axis=1).sum()))
        return counts

    for transform in map(TRANSFORMS.build, rest):
        after = transform(after)
    assert sum(inside(after)) > 20
    assert corners_of(after['gt_bboxes_3d'][new]).shape == (len(new), 8, 3)


def test_wrong_places_steps_classes_and_files(base, database, tmp_path):
    build = dict(type='CooperativeObjectPaste', database=database, numbers=dict(vehicle=30))
    transform = TRANSFORMS.build(build)
    with pytest.raises(ValueError, match='has to come after LoadCooperativePoints'):
        transform(base.get_data_info(3))
    for changes in (
        dict(future_offsets=np.arange(1, 10) / 2),
        dict(future_offsets=base[3]['future_offsets'] * 2),
    ):
        with pytest.raises(ValueError, match='make it anew for this config'):
            transform(base[3] | changes)
    noise = TRANSFORMS.build(dict(type='CooperativePoseNoise', position=1.0))
    with pytest.raises(ValueError, match='before CooperativePoseNoise'):
        transform(noise(base[3]))
    with pytest.raises(ValueError, match='repeated or future clouds'):
        transform(base[3] | dict(pad_history=True))
    with pytest.raises(ValueError, match=r"has \['vehicle'\], the dataset \('car',\)"):
        transform(base[3] | dict(classes=('car',)))
    with pytest.raises(ValueError, match='unicorn'):
        TRANSFORMS.build(build | dict(numbers=dict(unicorn=1)))
    bad = tmp_path / 'objects.npz'
    with np.load(database) as file:
        arrays = dict(file)
    for change, word in (
        (
            dict(header=np.array(json.dumps(dict(format='turbotrain-objects', version=0)))),
            'version',
        ),
        (dict(header=np.array(json.dumps(dict(format='other', version=1)))), 'format'),
    ):
        np.savez(bad, **(arrays | change))
        with pytest.raises(DataFileError, match=word):
            load_objects(str(bad))
    np.savez(bad, **{key: value for key, value in arrays.items() if key != 'points'})
    with pytest.raises(DataFileError, match=r'objects\.npz: .*points'):
        load_objects(str(bad))
    bad.write_bytes(b'no archive')
    with pytest.raises(DataFileError, match='cannot be read'):
        load_objects(str(bad))


def test_intensity_does_not_tell_what_was_pasted(base, database):
    assert load_objects(database).points[:, 3].any()
    before, after = paste(base, database, 6)
    assert len(new_of(before, after)) and not any(cloud[:, 3].any() for cloud in after['points'])
    keep = TRANSFORMS.build(LOAD | dict(zero_intensity=False))
    transform = TRANSFORMS.build(
        dict(type='CooperativeObjectPaste', database=database, numbers=dict(vehicle=60))
    )
    kept = transform(keep(base.get_data_info(6)))
    for zeroed, full in zip(after['points'], kept['points'], strict=True):
        np.testing.assert_array_equal(zeroed[:, :3], full[:, :3])
        assert full[-1, 3] > 0  # pasted points are the last


def test_where_a_roadside_unit_is_the_ego_nothing_is_taken_or_pasted(base, database):
    other = V2XPnPDataset(base.ann_file, base.data_root, mode='ic', pipeline=[LOAD], **STEPS)
    with pytest.raises(ValueError, match="ego is a vehicle .mode 'ic'"):
        build_object_database(other, stride=1)
    before, after = paste(other, database, 6)
    assert len(new_of(before, after)) == 0
    for a, b in zip(before['points'], after['points'], strict=True):
        np.testing.assert_array_equal(a, b)


def test_clouds_are_loaded_as_in_training(base, tmp_path):
    """A cloud that training leaves out does not stop the collection."""
    root = tmp_path / 'set'
    shutil.copytree(base.data_root, root)
    own = V2XPnPDataset(base.ann_file, str(root), ego='every', pipeline=[], **STEPS)
    path = Path(own.get_data_info(6)['cloud_paths'][own.get_data_info(6)['agents'].num_frames - 1])
    path.write_bytes(b'short')
    with pytest.raises(DataFileError, match=path.name):
        build_object_database(own, stride=1)
    load = LoadCooperativePoints(on_bad_cloud='drop')
    with pytest.warns(UserWarning, match='the cloud is left out'):
        assert len(build_object_database(own, stride=1, load=load).label)
