"""A sender and an ego that exchange bytes find what the detector finds in the whole sample."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS

from tests.online.recordings import CONFIGS, assert_same, moment_of, own_frames, untrained
from turbotrain.errors import SettingError
from turbotrain.online import CooperativeInferencer, Ego, OnlineModel, Sender
from turbotrain.online.message import HEADER_BYTES
from turbotrain.online.trunk import AgentTrunk
from turbotrain.structures import invert_rigid, pose_to_matrix, transform_points

FRAMES = [*range(0, 30, 5)]


def drive(scenario, model: OnlineModel, agents: list[int], frames: list[int], **kwargs):
    """Ego and senders, cloud by cloud up to the last frame; the ego, and the last messages."""
    moment = moment_of(scenario, agents, frames, arrays=True)
    halves = [
        Ego(model, map_path=moment.map_path) if i == 0 else Sender(model, a.kind, a.id, **kwargs)
        for i, a in enumerate(moment.agents)
    ]
    messages = {}
    for frame in frames:
        for half, agent in zip(halves, moment.agents, strict=True):
            time = 100.0 + frame / 10
            if time not in agent.times or agent.clouds[agent.times.index(time)] is None:
                continue
            cloud, pose = (part[agent.times.index(time)] for part in (agent.clouds, agent.poses))
            if half is halves[0]:
                half.see(cloud, pose, time)
            else:
                messages[agent.name] = half.encode(cloud, pose, time)
                assert halves[0].receive(messages[agent.name])
    return halves[0], messages


@pytest.mark.parametrize('method', ['v2xpnp', 'f-cooper', 'cobevflow', 'where2comm'])
def test_offline_is_online(scenario, tmp_path, method):
    cfg, path = untrained(method, tmp_path)
    model = OnlineModel(cfg, path, 'cpu')
    encoded = []
    model.detector.encoder.register_forward_pre_hook(lambda _, args: encoded.append(len(args[0])))
    # At frame 20 all agents are there, -1 without an earlier frame; at 25, -2 is late.
    for frames in (FRAMES[:5], FRAMES):
        ego, messages = drive(scenario, model, [1, -2, 2, -1], frames)
        encoded.clear()
        found = ego.detect()
        assert not encoded  # nothing again
        inferencer = CooperativeInferencer(own_frames(cfg), path, 'cpu', show_progress=False)
        moment = moment_of(scenario, [1, -2, 2, -1], frames)
        late = moment.agents[1]
        if late.clouds[-1] is None:  # what was not sent has no pose either
            late = replace(
                late, clouds=late.clouds[:-1], poses=late.poses[:-1], times=late.times[:-1]
            )
        moment = replace(moment, agents=[moment.agents[0], late, *moment.agents[2:]])
        (expected,) = inferencer(moment)['predictions']
        assert_same(found, expected)
        assert np.median(np.linalg.norm(found['velocity'], axis=1)) > 0.3
        assert found['agents'] == ['vehicle 1', 'vehicle 2', 'infrastructure 1', 'infrastructure 2']
        assert found['delays'].tolist() == pytest.approx([0, 0, 0, 0.5 * (frames is FRAMES)])
        assert found['time'] == 100.0 + frames[-1] / 10 and not ego.refused
        # A map is as large as message_bytes says of maps; points come on top of it.
        flow = 2 if method == 'cobevflow' else 0
        size = 4 * (64 + flow) * 32 * 64
        assert model.shape == (64 + flow, 32, 64)
        for message in messages.values():
            assert size <= len(message) - HEADER_BYTES < 1.1 * size
            assert 0.01 * size > HEADER_BYTES


def test_a_map_for_the_ego_is_of_projected_points(scenario, tmp_path):
    cfg, path = untrained('f-cooper', tmp_path)
    model = OnlineModel(cfg, path, 'cpu')
    cloud = np.random.default_rng(0).uniform([-20, -20, -2, 0], [20, 20, 1, 1], (900, 4))
    cloud = cloud.astype(np.float32)
    ego_pose, at = [5.0, -3.0, 1.9, 0.0, 0.0, 70.0], [13.0, 5.0, 4.5, 1.0, 0.0, -110.0]
    trunk = AgentTrunk(model, 'infrastructure', 1)
    trunk.see(cloud, at, 0.0, ego_pose)
    seen, (ego, own) = trunk.seen[-1], pose_to_matrix([ego_pose, at])
    np.testing.assert_array_equal(seen.world_from_agent, ego)
    points = model.read(cloud)
    points[:, :3] = transform_points(invert_rigid(ego) @ own, points[:, :3])
    np.testing.assert_allclose(seen.points, points, atol=1e-4)
    torch.testing.assert_close(seen.map, model.encode(points), atol=1e-4, rtol=1e-4)
    with pytest.raises(SettingError, match='infrastructure 1: ego_pose: expected'):
        trunk.see(cloud, at, 1.0, [1.0, 2.0])


def test_clouds_may_lie_in_memory_column_by_column(tmp_path):
    cfg, path = untrained('v2xpnp', tmp_path)
    model = OnlineModel(cfg, path, 'cpu')
    cloud = np.random.default_rng(0).uniform([-20, -20, -2, 0], [20, 20, 1, 1], (900, 4))
    for rows in (cloud, np.float32(cloud), np.float32(cloud)[:, :3]):
        columns = np.asfortranarray(rows)
        before = columns.copy()
        halves = [Sender(model, 'vehicle', 2) for _ in range(2)]
        expected, found = (
            half.encode(given, [1.0, 2.0, 1.9, 0.0, 0.0, 30.0], 0.0, [0.0] * 6)
            for half, given in zip(halves, (rows, columns), strict=True)
        )
        assert found == expected
        np.testing.assert_array_equal(columns, before)


def test_a_steady_delay_costs_no_history(scenario, tmp_path):
    """Each message comes after the ego's next cloud, when the one before it is too old."""
    cfg, path = untrained('v2xpnp', tmp_path)
    model = OnlineModel(cfg, path, 'cpu')
    moment = moment_of(scenario, [1, -1], FRAMES, arrays=True)
    own, late = moment.agents
    ego, sender = Ego(model, map_path=moment.map_path), Sender(model, late.kind, late.id)
    on_its_way = None
    for frame in range(6):
        time = 100.0 + frame / 2
        ego.see(own.clouds[frame], own.poses[frame], time)
        if on_its_way:
            assert ego.receive(on_its_way)
        on_its_way = None
        if time in late.times:
            i = late.times.index(time)
            on_its_way = sender.encode(late.clouds[i], late.poses[i], time)
    late = replace(late, clouds=late.clouds[:-1], poses=late.poses[:-1], times=late.times[:-1])
    inferencer = CooperativeInferencer(own_frames(cfg), path, 'cpu', show_progress=False)
    (expected,) = inferencer(replace(moment, agents=[own, late]))['predictions']
    found = ego.detect()
    assert found['delays'].tolist() == [0.0, 0.5]
    assert_same(found, expected)
    past = ego.sample()[0].agents.valid[1]  # of 101.0 there is none
    assert past.tolist() == [False, True, True]
    ego.see(own.clouds[0], own.poses[0], 103.5)
    assert ego.detect()['agents'] == ['vehicle 1'] and ego.heard
    ego.see(own.clouds[0], own.poses[0], 109.0)
    assert not ego.heard


def test_one_cloud_is_one_encoding(scenario, tmp_path):
    cfg, path = untrained('f-cooper', tmp_path)
    model = OnlineModel(cfg, path, 'cpu')
    encoded = []
    model.detector.encoder.register_forward_pre_hook(lambda _, args: encoded.append(len(args[0])))
    drive(scenario, model, [1, 2], FRAMES)
    assert encoded == [1] * 11  # of 12 clouds one is missing


def test_coarse_and_sparse_messages(scenario, tmp_path):
    cfg, path = untrained('where2comm', tmp_path)
    model = OnlineModel(cfg, path, 'cpu')
    exact, messages = drive(scenario, model, [1, 2], FRAMES[:3])
    whole, expected = len(messages['vehicle 2']), exact.detect()['scores']
    for settings, share in (
        (dict(precision='float16'), 0.51),
        (dict(precision='int8'), 0.27),
        (dict(precision='int8', compress=True), 0.2),
        (dict(sparse=True), 0.26),
        (dict(precision='float16', compress=True, sparse=True), 0.15),
    ):
        ego, messages = drive(scenario, model, [1, 2], FRAMES[:3], **settings)
        assert len(messages['vehicle 2']) < share * whole, settings
        found = ego.detect()
        assert found['message_bytes'] == [len(messages['vehicle 2'])]
        np.testing.assert_allclose(found['scores'][:10], expected[:10], atol=1e-3)
    seen = ego._heard['vehicle 2'][1]
    assert 0 < seen[-1].cells.sum() <= 0.2 * 32 * 64
    given = []
    model.detector.fusion_neck.register_forward_pre_hook(
        lambda _, args, kwargs: given.append(kwargs['valid']), with_kwargs=True
    )
    ego.detect()
    assert given[0][0].all() and torch.equal(given[0][1:], seen[-1].cells)


def test_compressed_maps_are_decoded_by_the_ego(scenario, tmp_path):
    compression = dict(type='FeatureCompression', channels=64, ratio=4, bits=8)
    cfg, path = untrained('f-cooper', tmp_path, compression=compression)
    model = OnlineModel(cfg, path, 'cpu')
    assert model.shape == (16, 32, 64)
    ego, messages = drive(scenario, model, [1, 2], FRAMES[:3])
    assert len(messages['vehicle 2']) < 1.3 * 16 * 32 * 64
    inferencer = CooperativeInferencer(own_frames(cfg), path, 'cpu', show_progress=False)
    (expected,) = inferencer(moment_of(scenario, [1, 2], FRAMES[:3]))['predictions']
    np.testing.assert_allclose(ego.detect()['scores'], expected['scores'], atol=2e-3)
    fused = torch.randn(1, 64, 32, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = model.detector.compression(fused)
    found = model.received(model.sent(fused)[0].numpy())
    assert (found - wanted).abs().max() < 0.02 * wanted.abs().max()


def test_agents_come_and_go_in_bounded_memory(tmp_path):
    cfg, path = untrained('f-cooper', tmp_path)
    model = OnlineModel(cfg, path, 'cpu')
    ego, cloud = Ego(model, max_agents=2), np.zeros((4, 4), np.float32)
    pose = [0.0] * 6
    for tick in range(60):
        time = tick / 10
        ego.see(cloud, pose, time)
        sender = Sender(model, 'vehicle', 2 + tick // 3)
        ego.receive(sender.encode(cloud, pose, time))
        assert len(ego._heard) <= 2 and len(ego.trunk.seen) <= 16
    assert set(ego.refused) == {'crowded'} and ego.last_refusal.startswith('crowded: 2 agents')
    assert len(ego.detect()['agents']) >= 2
    ego.see(cloud, pose, 100.0)
    assert ego.detect()['agents'] == ['vehicle 1'] and not ego._heard


def test_what_cannot_be_split_says_why(tmp_path):
    for method, words in (
        ('late-fusion', 'shares boxes, not maps'),
        ('early-fusion', 'sends points, not maps'),
        ('faf', 'hears nobody'),
        ('v2vnet', 'PrincipalCompression has no part that only a sender runs'),
    ):
        changes = dict(
            v2vnet=dict(compression=dict(type='PrincipalCompression')),
        )  # fmt: skip
        cfg, path = untrained(method, tmp_path, **changes.get(method, {}))
        with pytest.raises(SettingError, match=f'cannot be split into .*{words}'):
            OnlineModel(cfg, path, 'cpu')


def test_bad_arguments_are_named(tmp_path):
    cfg, path = untrained('f-cooper', tmp_path)
    model = OnlineModel(cfg, path, 'cpu')
    cloud, pose = np.zeros((4, 4), np.float32), [0.0] * 6
    for settings, words in (
        (dict(precision='float8'), 'precision: expected one of'),
        (dict(sparse=True), 'sparse: only Where2commFusion'),
    ):
        with pytest.raises(SettingError, match=words):
            Sender(model, 'vehicle', 2, **settings)
    with pytest.raises(SettingError, match='kind: expected one of'):
        Sender(model, 'drone', 2)
    with pytest.raises(SettingError, match='expected max_lead in seconds'):
        Ego(model, max_agents=0)
    sender, ego = Sender(model, 'vehicle', 2), Ego(model)
    sender.encode(cloud, pose, 1.0)
    for values, words in (
        ((None, pose, 2.0), 'vehicle 2: cloud: expected a file or an array'),
        ((cloud[:, :2], pose, 2.0), r'cloud: expected an array \(P, 4\)'),
        ((cloud, [np.nan] * 6, 2.0), 'pose: expected six finite numbers'),
        ((cloud, pose, 1.0), 'time: expected seconds above 1, got 1.0'),
        ((cloud, pose, np.nan), 'time: expected seconds above 1, got nan'),
    ):
        with pytest.raises(SettingError, match=words):
            sender.encode(*values)
    with pytest.raises(SettingError, match='the newest cloud of the ego is of None'):
        ego.detect()
    ego.see(cloud, pose, 1.0)
    with pytest.raises(SettingError, match=r'is of 1.0, got 2.0'):
        ego.detect(2.0)


def test_a_model_has_one_number(tmp_path):
    cfg, path = untrained('f-cooper', tmp_path)
    number = OnlineModel(cfg, path, 'cpu').number
    assert OnlineModel(str(CONFIGS / 'f-cooper_mini_v2xpnp.py'), path, 'cpu').number == number
    torch.manual_seed(1)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), path)
    assert OnlineModel(cfg, path, 'cpu').number != number
