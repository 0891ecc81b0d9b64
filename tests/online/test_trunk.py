"""An agent's past clouds are found whatever the rate of its LiDAR, in bounded memory."""

import numpy as np
import pytest

from tests.online.recordings import assert_same, own_frames, untrained
from turbotrain.online import (
    AgentClouds,
    CooperativeInferencer,
    Ego,
    Moment,
    OnlineModel,
    Sender,
)
from turbotrain.online.trunk import AgentTrunk


@pytest.mark.parametrize('rate', [10, 12.5, 20, 25, 30, 100])
def test_no_past_frame_is_lost(tmp_path, monkeypatch, rate):
    model = OnlineModel(*untrained('f-cooper', tmp_path), 'cpu')
    found, fuse = [], model.detector.fuse_frames
    monkeypatch.setattr(model, 'encode', lambda points: model.blank)
    monkeypatch.setattr(
        model.detector,
        'fuse_frames',
        lambda maps, batch: found.append(batch.valid.all()) or fuse(maps, batch),
    )
    trunk = AgentTrunk(model, 'vehicle', 1)
    assert model.reach == 1.5  # s, for frames of now, 0.5 s and 1 s ago
    for i in range(int(2.5 * rate)):
        trunk.see(np.zeros((0, 4), np.float32), np.eye(4), i / rate)
        assert len(trunk.seen) <= min(1.5 * rate + 1, 36)
        if i / rate >= 1.0:
            trunk.fused()
    assert len(found) > 10 and all(found)


def test_at_20_hz_online_is_offline(tmp_path):
    cfg, path = untrained('v2xpnp', tmp_path)
    rng = np.random.default_rng(0)
    times = [i / 20 for i in range(21)]
    agents = [
        AgentClouds(
            clouds=[
                rng.uniform([-40, -20, -2, 0], [40, 20, 1, 1], (300, 4)).astype(np.float32)
                for _ in times
            ],
            poses=[[10.0 * id + 5.0 * time, 0.0, 1.9, 0.0, 0.0, 0.0] for time in times],
            times=times,
            id=id,
        )
        for id in (1, 2)
    ]
    model = OnlineModel(cfg, path, 'cpu')
    ego, sender = Ego(model), Sender(model, 'vehicle', 2)
    for i, time in enumerate(times):
        own, other = ((agent.clouds[i], agent.poses[i], time) for agent in agents)
        ego.see(*own)
        assert ego.receive(sender.encode(*other)), ego.last_refusal
    assert ego.sample()[0].agents.valid.all()
    inferencer = CooperativeInferencer(own_frames(cfg), path, 'cpu', show_progress=False)
    (expected,) = inferencer(Moment(agents))['predictions']
    assert_same(ego.detect(), expected)
