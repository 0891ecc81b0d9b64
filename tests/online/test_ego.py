"""What the ego keeps of messages that come before its own clouds, and for how long."""

import numpy as np
import pytest

from tests.online.recordings import untrained
from turbotrain.online import Ego, MapMessage, OnlineModel, pack

TICK, MAX_DELAY = 0.1, 0.5
CLOUD, POSE = np.zeros((3, 4), np.float32), [0.0] * 6


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> OnlineModel:
    cfg, path = untrained('f-cooper', tmp_path_factory.mktemp('weights'))
    return OnlineModel(cfg, path, 'cpu')


def sent(model: OnlineModel, time: float, id: int = 2) -> bytes:
    """A message whose map says when it is of."""
    values = np.full(model.shape, time % 7, np.float32)
    points = np.zeros((0, 3), np.float32)
    return pack(
        MapMessage(model.number, 'vehicle', id, time, np.eye(4), model.limits, values, None, points)
    )


def maps_of(ego: Ego, id: int = 2) -> list[float]:
    """The times of an agent's maps in memory."""
    return [one.time for one in ego._heard[f'vehicle {id}'][1] if one.map is not None]


def test_a_slow_ego_hears_what_is_of_its_own_time(model):
    """Senders at 10 Hz; the ego works on each cloud for half a second of theirs."""
    ego = Ego(model)
    for tick in range(6):
        assert ego.receive(sent(model, tick * TICK)), ego.last_refusal
    for tick in range(1, 12):
        now = tick * TICK
        ego.see(CLOUD, POSE, now)
        assert ego.receive(sent(model, now + 0.5)), ego.last_refusal
        sample, (_, heard) = ego.sample()
        assert sample.agents.delays.tolist() == [0, 0] and heard.time == pytest.approx(now)
        assert heard.map.unique().item() == pytest.approx(heard.time % 7)
        assert ego.heard['vehicle 2'].time == heard.time, 'pictures show what was used'
    assert not ego.refused


@pytest.mark.parametrize('seed', range(3))
def test_whoever_has_sent_a_message_in_time_is_heard(model, seed):
    """Whatever the rates, the order in which clouds and messages come, and the first of them."""
    rng = np.random.default_rng(seed)
    ego = Ego(model)
    end, period = 2.4, rng.choice([0.05, 0.07, 0.1, 0.2, 0.35])
    offset = rng.choice([0.0, 0.03, 0.05])
    clouds = np.arange(0.5, end, rng.choice([0.1, 0.25])) + rng.uniform(0, 0.04)
    messages = np.arange(offset, end, period)
    lead = rng.uniform(-0.4, 0.5, len(messages)).round(2)  # of a message when it arrives
    arrivals = np.maximum.accumulate(messages - lead)
    taken: list[float] = []
    waiting = list(zip(arrivals, messages, strict=True))[::-1]
    heard = 0
    for now in clouds:
        ego.see(CLOUD, POSE, now)
        while waiting and waiting[-1][0] <= now:
            _, time = waiting.pop()
            if ego.receive(sent(model, time)):
                taken.append(time)
        ticks = np.round((np.array(taken) - now) / TICK)
        usable = ticks[(ticks <= 0) & (ticks >= -MAX_DELAY / TICK - 1e-6)]
        found = ego.detect()
        assert found['delays'].tolist() == pytest.approx([0.0, *-TICK * usable[-1:]])
        heard += len(usable) > 0
    assert heard > 3 and 'frequent' not in ego.refused


def test_maps_in_memory_are_bounded(model):
    """As many as fit between the ego's cloud and the newest that it takes, at 20 Hz at most."""
    ego = Ego(model, max_lead=0.5)
    most = int((ego.max_lead + 2 * TICK) / 0.05) + 1
    for tick in range(60):  # before the ego's first cloud
        assert ego.receive(sent(model, tick * 0.05))
        assert len(maps_of(ego)) <= most
    for now in np.arange(2.5, 4.5, 0.05):
        ego.see(CLOUD, POSE, now)
        assert ego.receive(sent(model, now + 0.499)), ego.last_refusal
        assert len(maps_of(ego)) <= most
        assert ego.detect()['delays'].tolist() == [0.0, 0.0]
    ego.see(CLOUD, POSE, 4.95)
    assert len(maps_of(ego)) <= 4  # none is ahead of the ego any more
    assert len(ego.detect()['agents']) == 2


def test_a_wrong_clock_does_not_block_an_agent(model):
    """Of messages that come before the ego's first cloud nobody can tell whether they are early."""
    ego = Ego(model, max_agents=2)
    assert ego.receive(sent(model, 9.9)) and ego.receive(sent(model, 1e9))
    assert ego.receive(sent(model, 1e9, id=3))
    assert not ego.receive(sent(model, 10.0)) and ego.refused == dict(replayed=1)
    ego.see(CLOUD, POSE, 10.0)
    assert ego.refused == dict(replayed=1, future=2)
    assert ego.last_refusal.startswith('future: is of 1e+09 s, now is 10 s')
    assert ego.detect()['agents'] == ['vehicle 1'] and not ego.heard
    for id in (2, 4):  # nor does it take the place of another
        assert ego.receive(sent(model, 10.0, id)), ego.last_refusal
    assert ego.detect()['agents'] == ['vehicle 1', 'vehicle 2', 'vehicle 4']
    assert ego.refused == dict(replayed=1, future=2)


def test_what_is_a_little_early_is_kept_at_the_first_cloud(model):
    ego = Ego(model)
    for tick in range(95, 105):
        assert ego.receive(sent(model, tick * TICK))
    ego.see(CLOUD, POSE, 10.0)
    assert not ego.refused
    assert ego.detect()['delays'].tolist() == [0.0, 0.0]
