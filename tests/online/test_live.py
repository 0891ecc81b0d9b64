"""A recording played by processes, over a channel that loses and delays what they send."""

import json
import os
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import zmq

import tools.live
from tests.online.recordings import CONFIGS, untrained
from tests.scenes import write_scenario
from turbotrain.errors import SettingError, UserError
from turbotrain.online import Channel, OnlineModel, Sender, open_recording
from turbotrain.online.latency import new_frame_costs
from turbotrain.online.live import Live, scene_of_ego
from turbotrain.online.sender_process import STAMP


@pytest.fixture(scope='module')
def played(scenario, tmp_path_factory):
    cfg, path = untrained('f-cooper', tmp_path_factory.mktemp('live'))
    model = OnlineModel(cfg, path, 'cpu')
    return model, cfg, path, open_recording(model, str(scenario))


@pytest.fixture(autouse=True)
def _forks(monkeypatch):
    """This process has imported everything."""
    monkeypatch.setattr(Live, 'method', 'fork')


def test_a_channel_loses_and_delays():
    channel = Channel((0.1, 0.4), loss=0.25, seed=1)
    for i in range(4000):
        channel.send(i, i / 1000)
    assert channel.lost == pytest.approx(1000, abs=100)
    assert not channel.arrived(0.09)
    early, late = channel.arrived(2.0), channel.arrived(10.0)
    assert set(range(1600)) >= {i for i in early if i < 1600} and max(early) < 1900
    assert len(early) + len(late) == 4000 - channel.lost and not channel.arrived(99.0)
    share = sum(i < 1750 for i in early) / sum(i < 1750 for i in [*early, *late])
    assert share > 0.9  # within 0.25 s three quarters of the last 0.15 s, all before
    on_time = Channel()
    on_time.send('a', 0.1 + 0.2)
    assert on_time.arrived(0.3) == ['a']
    for settings in (dict(delay=(0.2, 0.1)), dict(delay=(-1, 0)), dict(loss=1.5)):
        with pytest.raises(SettingError, match='expected'):
            Channel(**settings)


def test_a_recording_goes_round(scenario, played):
    model, recording = played[0], played[3]
    names = ['vehicle 1', 'vehicle 2', 'infrastructure 1', 'infrastructure 2']
    assert [agent.name for agent in recording.agents] == names
    assert recording.period == 0.5 and recording.length == 2.5 and recording.name == scenario.name
    assert os.path.isfile(recording.map_path)
    rounds = list(islice(recording.again_and_again(1, 4.0), 12))
    times = [0.0, 0.5, 1.0, 2.0, 2.5]  # of the fourth one there is no cloud
    assert [t for t, _ in rounds] == [*times, *(6.5 + t for t in times), 13.0, 13.5]
    cloud = np.fromfile(scenario / '2/000020.bin', '<f4').reshape(-1, 4)
    np.testing.assert_array_equal(recording.cloud(1, rounds[3][1]), cloud)
    mirrored = replace(recording, left_handed=True).cloud(1, rounds[3][1])
    np.testing.assert_array_equal(mirrored, cloud * np.float32([1, -1, 1, 1]))
    assert recording.cloud(1, 3) is None
    with pytest.raises(SettingError, match='the folder of one scenario'):
        open_recording(model, str(scenario.parent))


def test_agents_without_a_cloud_do_not_play(tmp_path, played):
    scenario = write_scenario(tmp_path, agents=(1, 2, -1), frames=range(0, 10, 5))
    for path in (scenario / '2').glob('*.bin'):
        path.unlink()
    recording = open_recording(played[0], str(scenario))
    assert [agent.name for agent in recording.agents] == ['vehicle 1', 'infrastructure 1']


def test_what_comes_off_the_wire_is_used(played, monkeypatch):
    model, cfg, path, recording = played
    monkeypatch.setattr(Live, '_started', lambda live, n: SimpleNamespace(kill=int, join=int))
    with Live(model, cfg, path, recording, channel=Channel((0.0, 0.2))) as live:
        live._begin.value = time.monotonic() - 0.3
        wire = zmq.Context.instance().socket(zmq.PUSH)
        wire.connect(live._address)
        for row, agent in enumerate(recording.agents[1:]):
            data = Sender(model, agent.kind, agent.id).encode(
                recording.cloud(row + 1, 0), agent.poses[0], 0.0
            )
            wire.send_multipart([STAMP.pack(row, 0.0, 0.07), data])
        wire.send_multipart([STAMP.pack(1, 0.0, 0.07), b'x' * 200])
        while live.messages['count'] < 4:
            live._listen(0.1)
        shown = live._detect(0.0, 0, 0.0)
        wire.close(linger=0)
    names = ['vehicle 1', 'vehicle 2', 'infrastructure 1', 'infrastructure 2']
    assert shown.found['agents'] == names and live.ego.refused == dict(foreign=1)
    assert [(row.taken, row.refused, row.age) for row in live.rows] == [
        (1, 0, 0.0), (1, 1, 0.0), (1, 0, 0.0),
    ]  # fmt: skip
    assert all(row.encoding == 0.07 and row.size > 4 * 64 * 32 * 64 for row in live.rows)
    scene = scene_of_ego(live.ego, shown, 'title')
    assert {view.name for view in scene.agents} == {'ego', *names[1:]}
    assert all(len(view.points) for view in scene.agents)
    assert len(scene.pred_boxes) == len(shown.found['scores'])


def test_the_ego_goes_on_whoever_is_killed(played):
    model, cfg, path, recording = played
    live = Live(model, cfg, path, recording, rate=4, channel=Channel((0.0, 0.2)))
    with live:
        processes, moments = live._processes, live.run()
        while not all(row.encoding for row in live.rows):  # each has sent something
            shown = next(moments)
        os.kill(processes[0].pid, signal.SIGKILL)
        processes[0].join()
        later = list(islice(moments, 2))
        assert later[-1].found['time'] > later[0].found['time'] > shown.found['time']
        assert {*later[-1].milliseconds} == {'see', 'receive', 'detect'} and later[-1].rate > 0
        assert [row.alive for row in live.rows] == [False, True, True]
        taken = sum(row.taken for row in live.rows)
        assert taken + sum(live.ego.refused.values()) <= live.messages['count']

        # One that ends by an error of its own.
        live.setup.sending['precision'] = 'none'
        live._processes[0] = live._started(0)
        live._processes[0].join()
        next(moments)
        assert live.crashes == 1 and [row.alive for row in live.rows] == [False, True, True]

        # In a run that kills, those that are killed start again, whoever does it.
        live.setup.sending.clear()
        live.kill_every, live._next_kill = 60.0, 0.0
        before = live._processes[1:]
        next(moments)
        assert live.kills == 1 and [row.starts for row in live.rows] == [2, 2, 1]
        live._next_kill = 0.0
        next(moments)
        assert live.kills == 2 and [row.starts for row in live.rows] == [2, 2, 2]
        assert not any(process.is_alive() for process in before)
        live._next_kill = np.inf
        live._processes[2].kill()
        live._processes[2].join()
        next(moments)
        assert live.kills == 2 and [row.starts for row in live.rows] == [2, 2, 3]
        assert live.crashes == 1 and [row.alive for row in live.rows] == [False, True, True]
    assert not any(process.is_alive() for process in live._processes)


@pytest.mark.timeout(120)
@pytest.mark.parametrize('kill_every', [None, 60.0])
def test_a_sender_that_cannot_start_ends_the_run(played, kill_every):
    """Whether the run kills senders or not; none is started twice."""
    model, cfg, path, recording = played
    sending = dict(precision='none')
    live = Live(model, cfg, path, recording, kill_every=kill_every, sending=sending)
    words = r'^(vehicle|infrastructure) \d: its process ended by an error before .* \(exit code 1'
    with live, pytest.raises(UserError, match=words):
        next(live.run())
    assert [row.starts for row in live.rows] == [1, 1, 1] and live.crashes == 1
    assert not any(process.is_alive() for process in live._processes)


def test_there_is_nobody_to_kill(played):
    model, cfg, path, recording = played
    alone = replace(recording, agents=recording.agents[:1])
    with Live(model, cfg, path, alone, rate=8, kill_every=0.01) as live:
        shown = list(islice(live.run(), 3))
    assert shown[-1].found['agents'] == ['vehicle 1'] and live.kills == 0


def command(monkeypatch, capsys, *words: object) -> dict:
    monkeypatch.chdir('.')  # the command changes it
    monkeypatch.setattr(sys, 'argv', ['live.py', *map(str, words)])
    tools.live.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_command(scenario, played, tmp_path, monkeypatch, capsys):
    words = CONFIGS / 'f-cooper_mini_v2xpnp.py', played[2], '--scenario', scenario, '--score', 0
    limits = '--cfg-options', 'model.test_cfg.score_thr=0.0', 'model.test_cfg.max_num=20'
    bad = '--seconds', 0.8, '--loss', 0.2, '--delay', 0, 0.3, '--rate', 4
    monkeypatch.setattr(tools.live, 'new_frame_costs', partial(new_frame_costs, repeats=1))
    told = command(monkeypatch, capsys, *words, *bad, *limits)
    assert 1 <= told['frames'] <= 4 and told['detections'] == 20 * told['frames']
    assert told['crashes'] == 0 and 0.1 < told['new_frame_over_offline'] < 1.5
    assert told['messages'] == 0 or told['bytes_per_message'] > 4 * 64 * 32 * 64

    # Ctrl-C finishes the moment, the video, and the last line.
    detect, video = Live._detect, tmp_path / 'live.mp4'

    def interrupted(live, moment, *args):
        if moment > 0:
            os.kill(os.getpid(), signal.SIGINT)
        return detect(live, moment, *args)

    monkeypatch.setattr(Live, '_detect', interrupted)
    told = command(monkeypatch, capsys, *words, '--video', video, *limits)
    assert told['frames'] == 2 and told['new_frame_over_offline'] is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert video.stat().st_size > 5000


def test_costs_are_told_by_part(played):
    costs = new_frame_costs(played[0], played[3], repeats=1)
    assert {*costs} == {'encode', 'see', 'receive', 'detect', 'offline', 'agents', 'frames'}
    assert (costs['agents'], costs['frames']) == (4, 3)
    assert all(value > 0 for value in costs.values())
