import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures.ops.box_np_ops import points_in_rbbox
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from tests.datasets.conftest import PIPELINE
from tests.datasets.samples import assert_same
from tests.layouts import DATASETS
from tests.scenes import write_scenario
from turbotrain.datasets import (
    EpochIndexSampler,
    V2XPnPDataset,
    build_infos,
    save_infos,
)
from turbotrain.datasets.readers import DataFileError, read_vector_map
from turbotrain.simulation.writer import write_vector_map
from turbotrain.structures import pose_to_matrix, transform_points


def test_sample_has_what_the_design_says(make_dataset):
    sample = make_dataset()[8]
    points, data = sample['inputs']['points'], sample['data_samples']
    agents, truth = data.agents, data.gt_instances_3d
    assert points.dtype == torch.float32
    assert points.shape == (sum(data.num_points), 4)
    assert len(data.num_points) == len(agents) * agents.num_frames == 4 * 5
    assert agents.ids.tolist() == [1, 2, -1, -2]
    assert agents.kinds.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(agents.time_offsets, [-2, -1.5, -1, -0.5, 0])
    np.testing.assert_allclose(agents.ego_from_agent[0, -1], np.eye(4), atol=1e-12)
    m = len(truth.bboxes_3d)
    assert truth.future_trajectories.shape == (m, 6, 2)
    assert truth.history_trajectories.shape == (m, 5, 2)
    assert truth.labels_3d.dtype == truth.track_ids.dtype == torch.int64
    # The current position of the past is the box's own.
    torch.testing.assert_close(
        truth.history_trajectories[:, -1], truth.bboxes_3d.tensor[:, :2], atol=1e-4, rtol=0
    )


def test_points_lie_on_the_boxes_seen_by_every_agent(make_dataset):
    keep_all = [dict(type='LoadCooperativePoints', body_mask=None), *PIPELINE[1:]]
    sample = make_dataset(pipeline=keep_all)[8]
    data = sample['data_samples']
    boxes = data.gt_instances_3d.bboxes_3d
    clouds = sample['inputs']['points'].split(data.num_points)
    current = clouds[data.agents.num_frames - 1 :: data.agents.num_frames]
    boxes = boxes.enlarged_box(0.1).tensor.numpy()
    for cloud in current:
        inside = points_in_rbbox(cloud.numpy(), boxes, origin=(0.5, 0.5, 0)).sum(axis=0)
        assert (inside >= 60).all()  # 60 points on each box's walls


def test_missing_history_and_future_are_masked_not_invented(make_dataset):
    dataset = make_dataset()
    first, last = dataset[0]['data_samples'], dataset[11]['data_samples']
    assert (first.frame, last.frame) == (0, 55)
    assert first.agents.valid.tolist() == [[False] * 4 + [True]] * 4
    assert first.num_points[:4] == [0, 0, 0, 0]
    assert not first.gt_instances_3d.history_valid[:, :-1].any()
    assert not last.gt_instances_3d.future_valid.any()
    assert last.agents.valid.all()


def test_futures_are_where_the_boxes_will_be(make_dataset):
    dataset = make_dataset()
    now, later = dataset[2]['data_samples'], dataset[6]['data_samples']
    truth, future = now.gt_instances_3d, later.gt_instances_3d
    np.testing.assert_array_equal(truth.track_ids, future.track_ids)
    now_from_later = (
        np.linalg.inv(dataset.get_data_info(2)['world_from_ego'])
        @ (dataset.get_data_info(6)['world_from_ego'])
    )
    boxes = future.bboxes_3d.gravity_center.numpy()
    expected = boxes @ now_from_later[:3, :3].T + now_from_later[:3, 3]
    np.testing.assert_allclose(truth.future_trajectories[:, 3], expected[:, :2], atol=1e-4)


def test_future_points_are_those_of_the_next_step_in_the_current_frame(make_dataset):
    """What a sample will see is what the next one sees, but for where the ego is."""
    limits = [-60.0, -40.0, -5.0, 60.0, 40.0, 5.0]
    crop = dict(type='CooperativeRangeFilter', point_cloud_range=limits)
    keep = dict(body_mask=None)
    pipeline = [
        dict(type='LoadCooperativePoints', **keep), dict(type='LoadFuturePoints', **keep),
        dict(type='ProjectPointsToEgo'), crop, PIPELINE[-1],
    ]  # fmt: skip
    dataset = make_dataset(pipeline=pipeline)
    data = [dataset[i] for i in (8, 9)]
    info = [dataset.get_data_info(i)['world_from_ego'] for i in (8, 9)]
    agents = data[1]['data_samples'].agents
    clouds = data[1]['inputs']['points'].split(data[1]['data_samples'].num_points)
    current = torch.cat(clouds[agents.num_frames - 1 :: agents.num_frames])
    now_from_next = np.linalg.inv(info[0]) @ info[1]
    assert not np.allclose(now_from_next, np.eye(4), atol=0.1)
    expected = current[:, :3].numpy() @ now_from_next[:3, :3].T + now_from_next[:3, 3]
    inner = (np.abs(expected) < np.array([50.0, 35.0, 4.0])).all(axis=1)
    found = data[0]['inputs']['future_points'][:, :3].double()
    distance, _ = torch.cdist(torch.from_numpy(expected[inner]), found).min(dim=1)
    assert distance.max() < 1e-3
    low, high = torch.tensor(limits).view(2, 3)
    assert ((found > low) & (found < high)).all()
    assert data[0]['data_samples'].future_is_known
    # At the end of the recording there is no next step, which is not to say that all vanishes.
    last = dataset[11]
    assert len(last['inputs']['future_points']) == 0
    assert not last['data_samples'].future_is_known


def test_a_future_that_one_agent_did_not_record_is_not_known(make_dataset):
    dataset = make_dataset(pipeline=[dict(type='LoadCooperativePoints')])
    info, load = dataset[8], TRANSFORMS.build(dict(type='LoadFuturePoints'))
    observe = info['observe']

    def without(agent: int) -> dict:
        def observe_less(delays: np.ndarray) -> tuple:
            agents, paths = observe(delays)
            valid = np.ones(agents.valid.shape, dtype=bool)
            valid[agent, -1] = False
            paths = [p if ok else '' for p, ok in zip(paths, valid.ravel(), strict=True)]
            return agents.only(valid), paths

        return load(info | dict(observe=observe_less))

    assert load(info)['future_is_known']
    assert not without(1)['future_is_known']
    # Of one that sees nothing now either, nothing is missing.
    now = info['agents'].valid.copy()
    now[1, -1] = False
    info['agents'] = info['agents'].only(now)
    assert without(1)['future_is_known']


def test_future_points_at_the_wrong_place_are_refused(make_dataset):
    load, *rest = PIPELINE
    late = [load, dict(type='CooperativeGlobalAugmentation'), dict(type='LoadFuturePoints')]
    for pipeline in (late, [dict(type='EgoOnly'), load, dict(type='LoadFuturePoints')]):
        with pytest.raises(ValueError, match='LoadFuturePoints has to come before'):
            make_dataset(pipeline=[*pipeline, *rest])[0]
    with pytest.raises(ValueError, match='offset'):
        make_dataset(pipeline=[load, dict(type='LoadFuturePoints', offset=0.0)])


def test_both_spellings_of_riders_are_pedestrians(make_dataset, tmp_path):
    folder = write_scenario(tmp_path, frames=range(1), agents=(1,), objects=2)
    path = folder / '1/000000.yaml'
    content = yaml.safe_load(path.read_text())
    for key, name in enumerate(('MotorcyleRider', 'MotorcycleRider')):
        content['vehicles'][key]['obj_type'] = name
    path.write_text(yaml.safe_dump(content))
    truth = make_dataset(tmp_path, num_history=0)[0]['data_samples'].gt_instances_3d
    assert truth.labels_3d.tolist() == [1, 1]


def test_a_class_map_that_knows_nothing_is_refused(make_dataset):
    with pytest.raises(ValueError, match=r"knows none of its classes \['BicycleRider', 'Bus'"):
        make_dataset(class_map=dict(car=['car', 'bus']))


def test_classes_outside_the_map_are_dropped(make_dataset):
    dataset = make_dataset(class_map=dict(car=['Car'], walker=['Pedestrian']))
    truth = dataset[0]['data_samples'].gt_instances_3d
    assert truth.track_ids.tolist() == [0, 2, 6, 8]
    assert truth.labels_3d.tolist() == [0, 1, 0, 1]
    assert dataset.metainfo['classes'] == ('car', 'walker')


def test_moving_the_world_changes_no_sample(make_dataset, tmp_path: Path, tiny_set):
    still, moved = tmp_path / 'still', tmp_path / 'moved'
    write_scenario(still, frames=range(0, 30, 5))
    motion = pose_to_matrix([1e6, -2e6, 40, 3, 111, -2])
    write_scenario(moved, frames=range(0, 30, 5), world_motion=motion)
    shutil.copytree(tiny_set / 'map', still / 'map')
    move_map(tiny_set / 'map', moved / 'map', motion)
    # The clouds are float32 on disk: millimetres.
    one, other = make_dataset(still)[5], make_dataset(moved)[5]
    assert_same(one, other, atol=2e-3)
    assert len(one['data_samples'].vector_map) and one['data_samples'].agents.speeds.any()


def move_map(source: Path, out: Path, motion: np.ndarray) -> None:
    out.mkdir()
    for path in source.iterdir():
        content = read_vector_map(str(path))
        for lane in content.map_features:
            for point in (*lane.polyline, *lane.boundary):
                point.x, point.y, point.z = transform_points(
                    motion, np.array([[point.x, point.y, point.z]])
                )[0].tolist()
        write_vector_map(out / path.name, content.map_features)


def test_workers_and_order_change_nothing(make_dataset):
    dataset = make_dataset(
        ego='random',
        pipeline=[
            dict(type='CooperativeDelay', delay=(0.0, 0.6)),
            dict(type='CooperativeAgentDropout', probability=0.3),
            dict(type='CooperativePacketLoss', probability=0.2),
            dict(type='LoadCooperativePoints'),
            dict(type='CooperativePoseNoise', position=0.3, heading=1.0),
            dict(type='CooperativeGlobalAugmentation'),
            dict(type='ProjectPointsToEgo'),
            dict(type='PackCooperativeInputs'),
        ],
    )

    def epoch(number: int, workers: int) -> list[dict]:
        sampler = EpochIndexSampler(dataset, shuffle=True, seed=3)
        sampler.set_epoch(number)
        loader = DataLoader(
            dataset, batch_size=None, sampler=sampler, num_workers=workers, collate_fn=lambda x: x
        )
        return list(loader)

    alone, shared, next_epoch = epoch(0, 0), epoch(0, 2), epoch(1, 0)
    for a, b in zip(alone, shared, strict=True):
        assert a['data_samples'].sample_idx == b['data_samples'].sample_idx
        assert_same(a, b)
    by_index = {s['data_samples'].sample_idx: s for s in alone}
    other = next_epoch[0]
    same = by_index[other['data_samples'].sample_idx]
    assert not torch.equal(other['inputs']['points'], same['inputs']['points'])


def test_a_resumed_run_sees_the_same_egos_and_draws(make_dataset, tmp_path):
    def run(name: str, epochs: int, resume: bool = False) -> torch.Tensor:
        pipeline = [
            dict(type='LoadCooperativePoints'),
            dict(type='CooperativeGlobalAugmentation'),
            dict(type='PackCooperativeInputs'),
        ]
        runner = Runner(
            model=dict(type='Follower'),
            work_dir=str(tmp_path / name),
            train_dataloader=dict(
                dataset=make_dataset(
                    ego='any', num_history=0, indices=8, pipeline=pipeline, test_mode=False
                ),
                batch_size=2, num_workers=1,
                sampler=dict(type='EpochIndexSampler', shuffle=True),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
            custom_hooks=[dict(type='PlainCheckpointHook')],
            randomness=dict(seed=0), resume=resume, experiment_name=f'{name}{epochs}',
            default_scope='mmdet3d',
        )  # fmt: skip
        runner.train()
        return runner.model.weight.detach().clone()

    whole, half = run('whole', 3), run('parts', 1)
    assert not torch.equal(whole, half)
    assert torch.equal(whole, run('parts', 3, resume=True))


def test_collates_samples_with_different_numbers_of_agents(make_dataset):
    dataset = make_dataset()
    batch = pseudo_collate([dataset[0], dataset[12]])
    assert [len(p) for p in batch['inputs']['points']] == [
        sum(s.num_points) for s in batch['data_samples']
    ]


@pytest.mark.parametrize(
    ('name', 'dataset'),
    [(f'{dataset}_infos_train.npz', dataset) for dataset in DATASETS] + [('infos.npz', None)],
)
def test_what_is_missing_is_made_by_the_commands_of_this_dataset(name, dataset, tmp_path):
    tmp_path = tmp_path / 'beside_v2xpnp'
    tmp_path.mkdir()
    nowhere = str(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=f'{nowhere}.*data/README.md') as error:
        V2XPnPDataset(name, nowhere, pipeline=[])
    messages = [(nowhere, str(error.value))]
    with pytest.raises(DataFileError, match=name) as error:
        V2XPnPDataset(name, str(tmp_path), pipeline=[])
    messages.append((str(tmp_path), str(error.value)))
    for root, message in messages:
        command = f"tools/create_data.py {dataset or 'DATASET'} --root-path {root}'"
        assert command in message
        others = {*DATASETS} - {dataset, 'v2xpnp'}
        assert all((other in message) == (not dataset) for other in others)
    # The simulator writes V2XPnP-Seq's format alone.
    assert ('simulate.py' in messages[0][1]) == (dataset in ('v2xpnp', None))


def test_a_frame_that_an_agent_lacks_is_masked(make_dataset, tmp_path):
    folder = write_scenario(tmp_path, frames=range(0, 30, 5))
    (folder / '2' / '000015.yaml').unlink()
    (folder / '-1' / '000025.bin').unlink()
    agents = make_dataset(tmp_path)[5]['data_samples'].agents
    assert agents.ids.tolist() == [1, 2, -1, -2]
    assert agents.valid[1].tolist() == [True, True, False, True, True]
    assert agents.valid[2].tolist() == [True, True, True, True, False]
    # Without an annotation now, it is not there at all.
    (folder / '2' / '000025.yaml').unlink()
    save_infos(str(tmp_path / 'infos.npz'), build_infos(str(tmp_path), 'train'))
    assert make_dataset(tmp_path)[5]['data_samples'].agents.ids.tolist() == [1, -1, -2]


def test_negative_indices_count_from_the_end(make_dataset):
    dataset = make_dataset()
    assert_same(dataset[-1], dataset[len(dataset) - 1])


def test_the_first_agents_label_counts_for_boxes_paths_and_futures(make_dataset, tmp_path):
    """All three follow the order in which agents are heard, and a missing label is filled in."""
    folder = write_scenario(tmp_path, frames=range(0, 40, 5), objects=3)
    for agent, shift in ((1, 0.0), (2, 1.0), (-1, 2.0), (-2, 3.0)):
        for path in (folder / str(agent)).glob('*.yaml'):
            content = yaml.safe_load(path.read_text())
            for item in content['vehicles'].values():
                item['location'][2] += shift
            if agent == 1:
                del content['vehicles'][1]
            path.write_text(yaml.safe_dump(content))
    heights = {}
    for mode, ego in (('vc', 1), ('ic', -1)):
        dataset = make_dataset(tmp_path, mode=mode, num_history=1, num_future=2)
        info = dataset.get_data_info(3)
        assert info['agents'].ids[0] == ego
        ids = np.sort(info['gt_track_ids'])
        assert ids.tolist() == [0, 1, 2]
        order = info['agents'].ids
        positions, known = dataset.infos.track(0, ids, np.array([10, 15, 20]), order)
        assert known.all()
        heights[mode] = positions[..., 2] - write_height(folder, ids)
        boxes = info['gt_bboxes_3d'][np.argsort(info['gt_track_ids'])]
        centre = boxes[:, :3] + boxes[:, 5:6] * [0, 0, 0.5]
        world = centre @ info['world_from_ego'][:3, :3].T + info['world_from_ego'][:3, 3]
        np.testing.assert_allclose(world[:, 2], positions[:, 1, 2], atol=1e-6)
    np.testing.assert_allclose(heights['vc'], [[0] * 3, [1] * 3, [0] * 3], atol=1e-6)
    np.testing.assert_allclose(heights['ic'], np.full((3, 3), 2.0), atol=1e-6)


def write_height(folder: Path, ids: np.ndarray) -> np.ndarray:
    """(M, 1) the objects' heights without the agents' shifts."""
    content = yaml.safe_load((folder / '2/000000.yaml').read_text())
    return np.array([[content['vehicles'][i]['location'][2] - 1.0] for i in ids.tolist()])


def test_a_dataset_ends(make_dataset):
    dataset = make_dataset(pipeline=[])
    assert len(list(dataset)) == len(dataset)


def test_the_order_of_folders_changes_nothing(make_dataset, tmp_path, monkeypatch):
    """Folders may be listed in any order; agents come in the mode's."""
    write_scenario(tmp_path, frames=range(0, 30, 5))
    usual = build_infos(str(tmp_path), 'train')
    real = os.scandir

    class Reversed:
        def __init__(self, path):
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda e: e.name, reverse=True)

        def __enter__(self):
            return self.entries

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(os, 'scandir', Reversed)
    found = build_infos(str(tmp_path), 'train')
    for name, value in vars(usual).items():
        np.testing.assert_array_equal(value, getattr(found, name))


def test_bad_clouds_are_errors_or_dropped_with_one_warning(make_dataset, tmp_path):
    folder = write_scenario(tmp_path, frames=range(0, 30, 5))
    bad = folder / '2' / '000025.bin'
    bad.write_bytes(b'12345')
    with pytest.raises(DataFileError, match='000025.bin'):
        make_dataset(tmp_path)[5]
    pipeline = [dict(type='LoadCooperativePoints', on_bad_cloud='drop'), *PIPELINE[2:]]
    dataset = make_dataset(tmp_path, pipeline=pipeline)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('default')
        samples = [dataset[5], dataset[5]]
    assert [str(w.message).count(str(bad)) for w in caught] == [1]
    for sample in samples:
        agents = sample['data_samples'].agents
        assert agents.valid[:, -1].tolist() == [True, False, True, True]
        np.testing.assert_array_equal(agents.ego_from_agent[1, -1], np.eye(4))
        assert sample['data_samples'].num_points[9] == 0


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    """What a process adds of its own while it reads 2,000 samples, of 100,000 and of 1,000."""
    script = Path(__file__).parents[2] / 'tools/costs/loading.py'
    done = subprocess.run(
        [sys.executable, script, '--memory-only'], cwd=tmp_path, text=True, check=False,
        capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout.splitlines()[-1])['worker_megabytes']
    assert grown['100000'] < grown['1000'] + 5
