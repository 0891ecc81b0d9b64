import numpy as np
import pytest
import torch

from tests.datasets.samples import assert_same
from tests.scenes import write_scenario
from turbotrain.structures import pose_to_matrix, transform_points

REST = [
    dict(type='LoadCooperativePoints'),
    dict(type='ProjectPointsToEgo'),
    dict(type='PackCooperativeInputs'),
]


def clouds(sample: dict) -> list[list[torch.Tensor]]:
    """N lists of T clouds."""
    data = sample['data_samples']
    flat = sample['inputs']['points'].split(data.num_points)
    frames = data.agents.num_frames
    return [list(flat[i : i + frames]) for i in range(0, len(flat), frames)]


def assert_same_truth(a: dict, b: dict) -> None:
    for key, value in a['data_samples'].gt_instances_3d.items():
        theirs = b['data_samples'].gt_instances_3d[key]
        if key == 'bboxes_3d':
            value, theirs = value.tensor, theirs.tensor
        assert torch.equal(value, theirs)


@pytest.fixture(scope='module')
def dense_root(tmp_path_factory):
    """Every frame of 3 s, not every fifth."""
    root = tmp_path_factory.mktemp('dense')
    write_scenario(root, frames=range(30), objects=4)
    return root


def test_delayed_clouds_are_those_of_the_delayed_frame(make_dataset, dense_root):
    plain = make_dataset(dense_root, num_history=2, pipeline=REST)
    late = make_dataset(
        dense_root, num_history=2, pipeline=[dict(type='CooperativeDelay', delay=0.3), *REST]
    )
    now, old, delayed = plain[20], plain[17], late[20]
    agents = delayed['data_samples'].agents
    np.testing.assert_allclose(agents.delays, [0, 0.3, 0.3, 0.3], rtol=1e-6)
    assert_same_truth(now, delayed)
    # The ego hears itself at once; the others' clouds lie where they were, in today's ego frame.
    for mine, theirs in zip(clouds(now)[0], clouds(delayed)[0], strict=True):
        assert torch.equal(mine, theirs)
    info = {i: plain.get_data_info(i)['world_from_ego'] for i in (17, 20)}
    now_from_then = np.linalg.inv(info[20]) @ info[17]
    for mine, theirs in zip(clouds(old)[1:], clouds(delayed)[1:], strict=True):
        for a, b in zip(mine, theirs, strict=True):
            moved = transform_points(now_from_then.astype(np.float32), a.numpy())
            np.testing.assert_allclose(moved, b.numpy(), atol=1e-3)


def test_delays_in_sparse_recordings_take_the_newest_cloud_old_enough(make_dataset):
    late = make_dataset(pipeline=[dict(type='CooperativeDelay', delay=0.2), *REST])
    agents = late[8]['data_samples'].agents  # a cloud every 5 frames
    np.testing.assert_allclose(agents.delays, [0, 0.5, 0.5, 0.5])
    assert agents.valid.all()
    # What had not been recorded then has not arrived now.
    assert late[1]['data_samples'].agents.valid[1].tolist() == [False] * 4 + [True]
    assert late[0]['data_samples'].agents.valid.any(axis=1).tolist() == [True, False, False, False]


def test_delay_per_agent_and_drawn(make_dataset, dense_root):
    named = make_dataset(
        dense_root, pipeline=[dict(type='CooperativeDelay', delay={-1: 0.4}), *REST]
    )
    np.testing.assert_allclose(named[25]['data_samples'].agents.delays, [0, 0, 0.4, 0])
    drawn = make_dataset(
        dense_root, pipeline=[dict(type='CooperativeDelay', delay=(0, 0.59)), *REST]
    )
    delays = np.array([drawn[i]['data_samples'].agents.delays for i in range(30)])
    assert not delays[:, 0].any()
    assert set(np.round(delays[5:, 1:] * 10).astype(int).ravel()) == set(range(6))
    np.testing.assert_array_equal(delays[7], drawn[7]['data_samples'].agents.delays)
    for bad in (-1, (3, 1), (1, 2, 3), {1: -2}):
        with pytest.raises(ValueError, match='delay'):
            make_dataset(pipeline=[dict(type='CooperativeDelay', delay=bad)])


def test_nothing_changes_when_nothing_is_wrong(make_dataset):
    nothing = [
        dict(type='CooperativeDelay', delay=0.0),
        dict(type='CooperativePacketLoss', probability=0.0),
        dict(type='CooperativeAgentDropout', probability=0.0),
        REST[0],
        dict(type='CooperativePoseNoise'),
        *REST[1:],
    ]
    plain, same = make_dataset(pipeline=REST), make_dataset(pipeline=nothing)
    for i in (0, 5, 11):
        assert_same(plain[i], same[i], atol=1e-4)


def test_pose_noise_moves_the_other_agents_alone(make_dataset):
    noise = dict(type='CooperativePoseNoise', position=0.5, heading=2.0)
    plain = make_dataset(pipeline=REST)
    noisy = make_dataset(pipeline=[REST[0], noise, *REST[1:]])
    offsets, turns = [], []
    for i in range(len(plain)):
        a, b = plain[i], noisy[i]
        assert_same_truth(a, b)
        one, other = a['data_samples'].agents, b['data_samples'].agents
        np.testing.assert_array_equal(one.ego_from_agent[0], other.ego_from_agent[0])
        world_from_ego = plain.get_data_info(i)['world_from_ego']
        for n in range(1, len(one)):
            poses = world_from_ego @ one.ego_from_agent[n]
            wrong = world_from_ego @ other.ego_from_agent[n]
            frames = np.flatnonzero(one.valid[n])
            offset = (wrong - poses)[frames, :3, 3]
            np.testing.assert_allclose(offset, offset[:1].repeat(len(frames), 0), atol=1e-9)
            turn = wrong[frames, :3, :3] @ np.linalg.inv(poses[frames, :3, :3])
            np.testing.assert_allclose(turn[:, 2], [[0, 0, 1]] * len(frames), atol=1e-9)
            offsets.append(offset[0])
            turns.append(np.rad2deg(np.arctan2(turn[0, 1, 0], turn[0, 0, 0])))
    assert 0.4 < np.std(offsets) < 0.6
    assert 1.4 < np.std(turns) < 2.6
    # Points go where the wrong pose puts them.
    a, b = plain[5], noisy[5]
    one, other = a['data_samples'].agents, b['data_samples'].agents
    wrong_from_right = other.ego_from_agent[2, 4] @ np.linalg.inv(one.ego_from_agent[2, 4])
    moved = transform_points(wrong_from_right.astype(np.float32), clouds(a)[2][4].numpy())
    np.testing.assert_allclose(moved, clouds(b)[2][4].numpy(), atol=1e-3)


def test_lost_messages_and_agents(make_dataset):
    plain = make_dataset(pipeline=REST)
    packets = make_dataset(pipeline=[dict(type='CooperativePacketLoss', probability=0.4), *REST])
    agents = make_dataset(pipeline=[dict(type='CooperativeAgentDropout', probability=0.4), *REST])
    lost_frames, lost_agents = [], []
    for i in range(4, len(plain)):
        full, fewer, alone = plain[i], packets[i], agents[i]
        assert_same_truth(full, fewer)
        assert_same_truth(full, alone)
        there = full['data_samples'].agents.valid
        for sample, counts in ((fewer, lost_frames), (alone, lost_agents)):
            valid = sample['data_samples'].agents.valid
            assert (valid[0] == there[0]).all()
            for n, row in enumerate(clouds(sample)):
                for t, cloud in enumerate(row):
                    assert bool(len(cloud)) == bool(valid[n, t])
            counts.append(valid[1:][there[1:]])
        rows = alone['data_samples'].agents.valid[there.all(axis=1)]
        assert (rows.all(axis=1) | ~rows.any(axis=1)).all()
    assert 0.5 < np.concatenate(lost_frames).mean() < 0.7
    assert 0.4 < np.concatenate(lost_agents).mean() < 0.8
    everything = make_dataset(
        pipeline=[dict(type='CooperativeAgentDropout', probability=1.0), *REST]
    )[8]['data_samples'].agents
    assert everything.valid.any(axis=1).tolist() == [True, False, False, False]


def test_what_was_lost_stays_lost_when_it_is_late_too(make_dataset):
    loss = dict(type='CooperativeAgentDropout', probability=1.0)
    delay = dict(type='CooperativeDelay', delay=0.5)
    for order in ([loss, delay], [delay, loss]):
        agents = make_dataset(pipeline=[*order, *REST])[8]['data_samples'].agents
        assert agents.valid.any(axis=1).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    'pipeline',
    [
        [REST[0], dict(type='CooperativeDelay', delay=0.1)],
        [REST[0], dict(type='CooperativePacketLoss', probability=0.5)],
        [REST[0], dict(type='CooperativeAgentDropout', probability=0.5)],
        [*REST[:2], dict(type='CooperativePoseNoise', position=1.0)],
        [dict(type='CooperativePoseNoise', position=1.0), dict(type='CooperativeDelay', delay=0.1)],
        [dict(type='EgoOnly'), dict(type='CooperativeDelay', delay=0.1)],
        [REST[0], dict(type='CooperativeGlobalAugmentation'), dict(type='LoadVectorMap')],
    ],
)
def test_the_wrong_order_is_refused(make_dataset, pipeline):
    with pytest.raises(ValueError, match='has to come before'):
        make_dataset(pipeline=pipeline)[5]


def test_impossible_settings_are_refused(make_dataset):
    for kind in ('CooperativePacketLoss', 'CooperativeAgentDropout'):
        with pytest.raises(ValueError, match='probability'):
            make_dataset(pipeline=[dict(type=kind, probability=1.5)])
    with pytest.raises(ValueError, match='negative'):
        make_dataset(pipeline=[dict(type='CooperativePoseNoise', position=-1)])


def test_speeds_come_from_poses(make_dataset):
    speeds = make_dataset(pipeline=REST)[4]['data_samples'].agents.speeds
    np.testing.assert_allclose(speeds, [2, 2, 0, 0], atol=1e-3)
    first = make_dataset(pipeline=REST)[0]['data_samples'].agents.speeds
    np.testing.assert_allclose(first, [2, 2, 0, 0], atol=1e-3)


def test_speeds_across_a_gap_are_of_the_time_that_passed(make_dataset, tmp_path):
    folder = write_scenario(tmp_path, frames=range(0, 60, 5), objects=2)
    for frame in (20, 25, 30):
        for path in folder.glob(f'2/{frame:06d}.*'):
            path.unlink()
    dataset = make_dataset(tmp_path, pipeline=REST)
    speeds = {s.frame: s.agents.speeds for s in (dataset[i]['data_samples'] for i in range(12))}
    np.testing.assert_allclose(speeds[35], [2, 2, 0, 0], atol=1e-3)
    np.testing.assert_allclose(speeds[25], [2, 0, 0], atol=1e-3)  # agent 2 is not there


def test_history_can_be_padded_by_repetition(make_dataset):
    plain, padded = make_dataset(pipeline=REST), make_dataset(pipeline=REST, pad_history=True)
    for i in (0, 2, 8):
        a, b = plain[i], padded[i]
        assert_same_truth(a, b)
        assert b['data_samples'].agents.valid.all()
        before = a['data_samples'].agents.valid
        first = before.argmax(axis=1)
        for n, row in enumerate(clouds(b)):
            for t, cloud in enumerate(row):
                assert torch.equal(cloud, clouds(a)[n][max(t, first[n])])
    np.testing.assert_allclose(
        padded[0]['data_samples'].agents.ego_from_agent[:, 0],
        plain[0]['data_samples'].agents.ego_from_agent[:, -1],
    )


def test_world_motion_changes_no_degraded_sample(make_dataset, tmp_path):
    still, moved = tmp_path / 'still', tmp_path / 'moved'
    write_scenario(still, frames=range(0, 30, 5))
    motion = pose_to_matrix([300, -200, 4, 0, 111, 0])
    write_scenario(moved, frames=range(0, 30, 5), world_motion=motion)
    pipeline = [
        dict(type='CooperativeDelay', delay=(0, 0.5)),
        dict(type='CooperativePacketLoss', probability=0.2),
        dict(type='CooperativePoseNoise', position=0.5, heading=2.0),
        *REST,
    ]
    a, b = make_dataset(still, pipeline=pipeline)[5], make_dataset(moved, pipeline=pipeline)[5]
    assert_same(a, b, atol=2e-3)
