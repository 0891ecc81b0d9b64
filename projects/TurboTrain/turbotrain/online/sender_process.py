"""What the process of a sender does while a recording is played live."""

import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zmq
from mmengine.config import Config

from ..engine import keep_freed_memory
from ..workers import follow_parent
from .recording import Recording
from .sender import Sender
from .trunk import OnlineModel

__all__ = [
    'POSE',
    'SLICE',
    'STAMP',
    'WAITING',
    'Clock',
    'Setup',
    'due',
    'preload',
    'run_sender',
    'warm_up',
]

STAMP = struct.Struct('<Hdd')  # place of the agent, time of sending, seconds that encoding took
POSE = np.dtype('<f8')  # of the 4x4 numbers that the ego tells all
WAITING = 64  # messages that wait in a socket
SLICE = 0.1  # s between two looks at whether to end


@dataclass(frozen=True)
class Setup:
    """What all processes of a run are told.

    Attributes:
        config: of the model.
        checkpoint: of the model.
        device: where it runs; None is for a GPU, if there is one.
        recording: what is played.
        speed: seconds of the recording in one second.
        pause: see :meth:`Recording.again_and_again`.
        sending: settings of the senders.
    """

    config: Config
    checkpoint: str | Path
    device: str | None
    recording: Recording
    speed: float
    pause: float
    sending: dict[str, Any] = field(default_factory=dict)


class Clock:
    """Seconds of the recording, the same in all processes of this machine.

    Args:
        speed: of the recording in one second.
        begin: shared; when it begins, in :func:`time.monotonic`, infinite until that is known.
    """

    def __init__(self, speed: float, begin: Any) -> None:
        self.speed, self.begin = speed, begin

    def now(self) -> float:
        """Below 0 before it begins."""
        return (time.monotonic() - self.begin.value) * self.speed

    def until(self, moment: float) -> float:
        """Seconds to wait for a moment, infinite before it is known."""
        return (moment - self.now()) / self.speed


def due(setup: Setup, agent: int, clock: Clock) -> Iterator[tuple[float, int]]:
    """The clouds of an agent that are not too old already, see ``again_and_again``."""
    for moment, i in setup.recording.again_and_again(agent, setup.pause):
        if clock.now() < moment + setup.recording.period:
            yield moment, i


def warm_up(take: Callable, recording: Recording, agent: int) -> None:
    """Let the first cloud of an agent cost what all cost; for a half that is not used again."""
    _, i = next(recording.again_and_again(agent, 0.0))
    take(recording.cloud(agent, i), recording.agents[agent].poses[i], 0.0)


def run_sender(setup: Setup, agent: int, row: int, address: str, poses: str, begin: Any) -> None:
    """What a sender's process does, until it is ended."""
    follow_parent()
    keep_freed_memory()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # an end from outside is no crash
    torch.set_num_threads(1)
    own, clock = setup.recording.agents[agent], Clock(setup.speed, begin)
    model = OnlineModel(setup.config, setup.checkpoint, setup.device)
    warm_up(Sender(model, own.kind, own.id).encode, setup.recording, agent)
    sender = Sender(model, own.kind, own.id, **setup.sending)
    socket = zmq.Context().socket(zmq.PUSH)
    socket.set_hwm(WAITING)
    socket.connect(address)
    newest = socket.context.socket(zmq.SUB)
    newest.setsockopt(zmq.CONFLATE, 1)
    newest.subscribe(b'')
    newest.connect(poses)
    ego_pose = None
    socket.send_multipart([STAMP.pack(row, clock.now(), 0.0), b''])  # is there
    while np.isinf(begin.value):
        time.sleep(SLICE / 10)
    for moment, i in due(setup, agent, clock):
        time.sleep(max(0.0, clock.until(moment)))
        started = time.perf_counter()
        if newest.poll(0):
            ego_pose = np.frombuffer(newest.recv(), POSE).reshape(4, 4)
        cloud = setup.recording.cloud(agent, i)
        message = sender.encode(cloud, own.poses[i], moment, ego_pose)
        stamp = STAMP.pack(row, clock.now(), time.perf_counter() - started)
        # An ego that does not listen loses messages, it does not stop the sender.
        with suppress(zmq.Again):
            socket.send_multipart([stamp, message], zmq.NOBLOCK)


def preload() -> None:
    """Have senders start in a second: they fork from a process that has imported this module."""
    before = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join(sys.path)  # which that process is not told
    try:
        forkserver.set_forkserver_preload([__name__])
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ['PYTHONPATH']
        else:
            os.environ['PYTHONPATH'] = before
