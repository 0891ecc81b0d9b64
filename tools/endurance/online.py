"""Agents join and leave for ten thousand frames: ``python tools/endurance/online.py``.

An ego of small maps, and senders of which each lives for some frames only: most messages arrive in
time, some are lost, late, damaged or sent twice. Memory is flat when the medians of the last
eighteen twentieths of the time stay within 3 % of theirs. The last line is one JSON object.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

import turbotrain.plugin  # noqa: F401 - registers everything
from tools.endurance.soak import TOLERANCE, drift, private_megabytes
from turbotrain.online import Channel, Ego, OnlineModel, Sender
from turbotrain.recipes.circumstances import circumstances

CONFIG = ROOT / 'configs/benchmark/mini/f-cooper_mini_v2xpnp.py'
PERIOD = 0.5  # s between two clouds
LIFE = 12  # frames that an agent is there for


def shrunk(cfg: Config) -> Config:
    """A config's map at a quarter of its length and half of its width: 25.6 m x 25.6 m."""
    big = cfg.model.point_cloud_range

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: changed(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            if len(value) == 6 and [*value[:2], *value[3:5]] == [*big[:2], *big[3:5]]:
                return [-12.8, -12.8, value[2], 12.8, 12.8, value[5]]
            return [changed(item) for item in value]
        return value

    return Config(changed(cfg.to_dict()))


def untrained(folder: str) -> OnlineModel:
    """A small model that detects without training."""
    init_default_scope('mmdet3d')
    cfg = shrunk(Config.fromfile(CONFIG))
    cfg.model.test_cfg.update(score_thr=0.0, nms_pre=20, max_num=10)
    torch.manual_seed(0)
    path = f'{folder}/model.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), path)
    return OnlineModel(cfg, path, 'cpu')


def drive(model: OnlineModel, frames: int, seed: int = 0) -> Iterator[tuple[Ego, int]]:
    """The ego after each frame, and how many agents it heard."""
    rng = np.random.default_rng(seed)
    ego, channel = Ego(model, max_agents=4), Channel((0.0, 0.7), loss=0.2, seed=seed)
    senders: list[tuple[int, Sender]] = []
    cloud = rng.uniform([-12, -12, -2, 0], [12, 12, 1, 1], (600, 4))
    for frame in range(frames):
        now = frame * PERIOD
        senders = [(born, sender) for born, sender in senders if frame - born < LIFE]
        if rng.random() < 0.4:
            senders.append((frame, Sender(model, 'vehicle', 2 + frame)))
        for _, sender in senders:
            data = sender.encode(cloud, [*rng.uniform(-9, 9, 2), 1.9, 0, 0, 0], now)
            for _ in range(1 + (rng.random() < 0.1)):
                channel.send(data, now)
            if rng.random() < 0.1:
                place = rng.integers(len(data))
                channel.send(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :], now)
        ego.see(cloud, [0.1 * now, 0, 1.9, 0, 0, 0], now)
        for data in channel.arrived(now):
            ego.receive(data)
        yield ego, len(ego.detect()['agents'])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=10_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    memory, heard, refused = [], Counter(), {}
    with tempfile.TemporaryDirectory() as folder:
        model = untrained(folder)
    for i, (ego, agents) in enumerate(drive(model, args.frames)):
        heard[agents] += 1
        if i % 10 == 0:
            memory.append(private_megabytes(os.getpid()))
        if i % 1000 == 999:
            print(f'{i + 1} frames, {memory[-1]:.1f} MB', flush=True)
        refused = dict(ego.refused)
    found = round(drift(memory), 4)
    summary = dict(
        frames=args.frames,
        drift=found,
        flat=found <= TOLERANCE,
        megabytes=round(memory[-1], 1),
        heard={str(n): heard[n] for n in sorted(heard)},
        refused=refused,
    )
    print(json.dumps(summary | circumstances()))
    if not summary['flat']:
        sys.exit(1)


if __name__ == '__main__':
    main()
