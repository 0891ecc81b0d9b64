"""A recording played live: each agent a process of its own, messages by ZeroMQ."""

import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from mmengine.config import Config

from ..engine import give_back_freed_memory
from ..errors import UserError
from ..structures import invert_rigid, transform_points
from ..visualization import AgentView, BEVScene
from .channel import Channel
from .ego import Ego
from .moment import KINDS
from .recording import Recording
from .sender_process import (
    POSE,
    SLICE,
    STAMP,
    WAITING,
    Clock,
    Setup,
    due,
    preload,
    run_sender,
    warm_up,
)
from .trunk import OnlineModel

__all__ = ['AgentRow', 'Live', 'Shown', 'scene_of_ego']

_HOST = 'tcp://127.0.0.1'
_TIDY = 20  # moments between two times that the ego gives memory back
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # exit codes of processes that were ended from outside


@dataclass
class AgentRow:
    """What the ego knows of a sender.

    Attributes:
        name: of the agent.
        alive: whether its process is.
        age: s, of the message that the ego used when it last detected; None if it had none.
        size: bytes of that message.
        encoding: s, from cloud to message.
        taken: how many of its messages were taken, and refused.
        refused: how many were refused.
        starts: how often it was started.
    """

    name: str
    alive: bool = True
    age: float | None = None
    size: int = 0
    encoding: float = 0.0
    taken: int = 0
    refused: int = 0
    starts: int = 0


@dataclass(frozen=True)
class Shown:
    """One moment of the ego.

    Attributes:
        found: what :meth:`Ego.detect` returns.
        milliseconds: of the ego's parts: ``see``, ``receive``, ``detect``.
        rate: detections in a second, lately.
        points: (P, 3) float32 metres, the ego's cloud in its own frame.
    """

    found: dict[str, Any]
    milliseconds: dict[str, float]
    rate: float
    points: np.ndarray


class Live:
    """The ego, in this process, and its senders, each in one of its own.

    A context: senders start when it is entered, and end when it is left, however that is.

    Args:
        model: the ego's.
        config: that it was made of.
        checkpoint: that it was made of.
        recording: what is played, again and again.
        rate: clouds of an agent in a second; None plays as fast as it was recorded. Delays and ages
            are in seconds of the recording.
        channel: what messages go through.
        max_delay: of the ego.
        score: detections below it are left out.
        kill_every: s after which one sender, in turn, is killed; None kills none. In such a run
            whoever is killed, from outside too, is started again.
        sending: settings of the senders.

    Attributes:
        ego: the receiving half.
        rows: what it knows of the senders.
        ended: set it, and the run ends with the moment that is on.
        crashes: how many senders have ended by an error; none of these is started again.
        kills: how many have been killed for ``kill_every``.
        messages: how many have come off the wire, and of how many bytes.
    """

    method = 'forkserver'  # which has everything imported already, and no GPU at work

    def __init__(
        self,
        model: OnlineModel,
        config: Config,
        checkpoint: str | Path,
        recording: Recording,
        rate: float | None = None,
        channel: Channel | None = None,
        max_delay: float = 0.5,
        score: float = 0.3,
        kill_every: float | None = None,
        sending: dict[str, Any] | None = None,
    ) -> None:
        own = recording.agents[0]
        self.ego = Ego(model, own.kind, own.id, max_delay, map_path=recording.map_path)
        self.channel, self.score, self.kill_every = channel or Channel(), score, kill_every
        # In the pause whatever was sent before it gets too old.
        pause = model.reach + max_delay + self.channel.delay[1] + recording.period
        speed = 1.0 if rate is None else rate * recording.period
        device = str(model.device)
        self.setup = Setup(config, checkpoint, device, recording, speed, pause, sending or {})
        self.rows = [AgentRow(agent.name) for agent in recording.agents[1:]]
        self.ended, self.crashes, self.kills = False, 0, 0
        self.messages = Counter(count=0, bytes=0)
        self._context = multiprocessing.get_context(self.method)
        self._begin = self._context.Value('d', np.inf, lock=False)
        self._clock = Clock(speed, self._begin)
        self._processes: list[Any] = []
        self._there: set[int] = set()
        self._next_kill = np.inf

    def __enter__(self) -> 'Live':
        """Start the senders."""
        self._socket = zmq.Context().socket(zmq.PULL)
        self._socket.set_hwm(WAITING)
        self._address = f'{_HOST}:{self._socket.bind_to_random_port(_HOST)}'
        self._told = self._socket.context.socket(zmq.PUB)
        self._poses = f'{_HOST}:{self._told.bind_to_random_port(_HOST)}'
        if self.method == 'forkserver':
            preload()
        try:
            for n in range(len(self.rows)):
                self._processes.append(self._started(n))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the senders."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        self._socket.close(linger=0)
        self._told.close(linger=0)

    def run(self, seconds: float = np.inf) -> Iterator[Shown]:
        """Detect at each cloud of the ego.

        Args:
            seconds: how long, once all senders are there.

        Raises:
            UserError: a sender has ended by an error before the run has begun.
        """
        own = self.setup.recording.agents[0]
        warm = Ego(self.ego.model, own.kind, own.id, map_path=self.ego.map_path)
        warm_up(warm.see, self.setup.recording, 0)
        warm.detect()
        while len(self._there) < sum(row.alive for row in self.rows) and not self.ended:
            self._listen(SLICE)
            self._look_after_senders()
        self._begin.value = begin = time.monotonic()
        self._next_kill = begin + (self.kill_every or np.inf)
        times: deque[float] = deque(maxlen=20)
        for count, (moment, i) in enumerate(due(self.setup, 0, self._clock)):
            if count % _TIDY == 0:
                give_back_freed_memory()
            while (left := self._clock.until(moment)) > 0 and not self.ended:
                self._listen(min(left, SLICE))
            if self.ended or time.monotonic() - begin >= seconds:
                return
            times.append(time.monotonic())
            rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
            yield self._detect(moment, i, rate)
            self._look_after_senders()

    def _detect(self, moment: float, i: int, rate: float) -> Shown:
        recording, ticks = self.setup.recording, [time.perf_counter()]
        cloud, pose = recording.cloud(0, i), recording.agents[0].poses[i]
        self._told.send(pose.astype(POSE).tobytes())
        self.ego.see(cloud, pose, moment)
        ticks.append(time.perf_counter())
        self._listen(0.0)
        for agent, data in self.channel.arrived(self._clock.now()):
            taken = self.ego.receive(data)
            self.rows[agent].taken += taken
            self.rows[agent].refused += not taken
        ticks.append(time.perf_counter())
        found = self.ego.detect(pred_score_thr=self.score)
        ticks.append(time.perf_counter())
        ages = dict(zip(found['agents'], found['delays'].tolist(), strict=True))
        sizes = dict(zip(found['agents'][1:], found['message_bytes'], strict=True))
        for row in self.rows:
            row.age, row.size = ages.get(row.name), sizes.get(row.name, row.size)
        parts = dict(zip(('see', 'receive', 'detect'), 1e3 * np.diff(ticks), strict=True))
        return Shown(found, parts, rate, cloud[:, :3])

    def _listen(self, seconds: float) -> None:
        """Put what comes off the wire meanwhile, or has come, into the channel."""
        end = time.monotonic() + seconds
        while self._socket.poll(max(0.0, 1e3 * (end - time.monotonic()))):
            stamp, data = self._socket.recv_multipart()
            agent, sent, took = STAMP.unpack(stamp)
            self._there.add(agent)
            if data:
                self.rows[agent].encoding = took
                self.messages.update(count=1, bytes=len(data))
                self.channel.send((agent, data), sent)

    def _look_after_senders(self) -> None:
        """Kill who is due, note who is gone, and start what was killed in a run that kills.

        Raises:
            UserError: a sender has ended by an error before the run has begun.
        """
        begun = np.isfinite(self._begin.value)
        alive = [process for n, process in enumerate(self._processes) if self.rows[n].alive]
        if alive and time.monotonic() >= self._next_kill:
            self._next_kill += self.kill_every
            process = alive[self.kills % len(alive)]
            process.kill()
            process.join()
            self.kills += 1
        for n, row in enumerate(self.rows):
            exitcode = self._processes[n].exitcode
            if exitcode is None:
                continue
            killed = exitcode in _KILLED
            if row.alive:
                row.alive = False
                self._there.discard(n)
                self.crashes += not killed
            if not (begun or killed):
                raise UserError(
                    f'{row.name}: its process ended by an error before the run began (exit code '
                    f'{exitcode}); what it printed says why'
                )
            # One that ends by itself would do so again, and again.
            if begun and killed and self.kill_every:
                self._processes[n] = self._started(n)

    def _started(self, n: int) -> Any:
        """A new process of the n-th sender."""
        process = self._context.Process(
            target=run_sender,
            args=(self.setup, n + 1, n, self._address, self._poses, self._begin),
            daemon=True,
        )
        process.start()
        self.rows[n].alive, self.rows[n].starts = True, self.rows[n].starts + 1
        return process


def scene_of_ego(ego: Ego, shown: Shown, title: str) -> BEVScene:
    """What a picture shows of a moment: the clouds that the ego has, and what it found."""
    found = shown.found
    ego_from_world = invert_rigid(found['world_from_ego'])
    views = [AgentView('ego', KINDS[ego.trunk.agent.kind], np.eye(4), shown.points)]
    for name, newest in ego.heard.items():
        if name in found['agents']:
            pose = ego_from_world @ newest.world_from_agent
            points = transform_points(pose, newest.points)
            views.append(AgentView(name, KINDS[name.split()[0]], pose, points))
    return BEVScene(
        title=title,
        agents=tuple(views),
        pred_boxes=found['boxes'][:, [0, 1, 3, 4, 6]],
        pred_scores=found['scores'],
        pred_velocities=found.get('velocity'),
        pred_futures=found.get('trajectories'),
        pred_mode_scores=found.get('trajectory_scores'),
    )
