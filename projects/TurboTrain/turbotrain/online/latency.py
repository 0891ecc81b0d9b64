"""What a new cloud costs online and offline, on one thread."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate

from .ego import Ego
from .recording import Recording
from .samples import UnlabelledMoments
from .sender import Sender
from .trunk import OnlineModel

__all__ = ['new_frame_costs']


def new_frame_costs(
    model: OnlineModel, recording: Recording, repeats: int = 3, **settings: Any
) -> dict[str, float]:
    """Play a recording in this process until all that the model looks back at is there; then time.

    Args:
        model: the network.
        recording: of clouds that are ``period`` apart.
        repeats: how many moments are timed; the median counts.
        settings: of the senders.

    Returns:
        Seconds of this process' work: ``encode``, one sender from cloud to message, ``see``,
        ``receive`` of all messages and ``detect`` of the ego, ``offline``, the detector on the same
        sample once it is loaded; and ``agents`` and ``frames`` of it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _costs(model, recording, repeats, settings)
    finally:
        torch.set_num_threads(before)


def _costs(
    model: OnlineModel, recording: Recording, repeats: int, settings: dict
) -> dict[str, float]:
    own, *others = recording.agents
    ego = Ego(model, own.kind, own.id, map_path=recording.map_path)
    senders = [Sender(model, agent.kind, agent.id, **settings) for agent in others]
    moments = UnlabelledMoments(model.settings, model.inputs.name, ego.max_delay)
    warm = round(model.reach / recording.period)
    rows: dict[str, list[float]] = {}

    def timed(name: str, call: Callable, *args: Any) -> Any:
        begin = time.process_time()
        result = call(*args)
        rows.setdefault(name, []).append(time.process_time() - begin)
        return result

    sample = None
    for i, now in enumerate(own.times[: warm + repeats]):
        if own.clouds[i] is None:
            continue
        if i == warm:
            rows.clear()
        messages = []
        for n, (sender, agent) in enumerate(zip(senders, others, strict=True), start=1):
            if now in agent.times and agent.clouds[agent.times.index(now)] is not None:
                j = agent.times.index(now)
                cloud = recording.cloud(n, j)
                pose = agent.poses[j]
                messages.append(timed('encode', sender.encode, cloud, pose, now, own.poses[i]))
        timed('see', ego.see, recording.cloud(0, i), own.poses[i], now)
        timed('receive', lambda found=messages: [ego.receive(data) for data in found])
        timed('detect', ego.detect)
        if i >= warm:
            data = moments(recording.moment(now, model.reach))
            sample = data['data_samples']
            with torch.no_grad():
                timed('offline', model.detector.test_step, pseudo_collate([data]))
    if sample is None:
        return {}
    agents, frames = sample.agents.valid.shape
    medians = {name: float(np.median(values)) for name, values in rows.items()}
    return medians | dict(agents=agents, frames=frames)
