"""A new cloud online against the whole sample offline: ``python tools/costs/online.py``.

Plays a recorded scenario through senders and an ego in one process, on one thread, and prints what
each module takes of it; by default at full size on the clouds of the simulated mini set. Weights
are random, and so many boxes are kept as there are objects in a frame. Times are of the processor.
The last line is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
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
from turbotrain.engine import keep_freed_memory
from turbotrain.online import OnlineModel, open_recording
from turbotrain.online.latency import new_frame_costs
from turbotrain.recipes.circumstances import circumstances

OBJECTS = 40
# Method -> where it runs.
MODULES = {
    'encode_clouds': 'each agent, its new cloud',
    'fuse_frames': 'each agent, its frames',
    'fuse_agents': 'ego, all maps',
    'finish': 'ego, the fused map',
    'bbox_head.predict': 'ego, boxes',
    'velocity_head.look': 'ego, all points',
    'velocity_head.predict': 'ego, boxes',
    'trajectory_head.predict': 'ego, boxes',
}


def watch(detector: torch.nn.Module) -> dict[str, list[float]]:
    """Seconds of each call of the modules from now on."""
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, method: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = time.process_time()
            result = method(*args, **kwargs)
            seconds[name].append(time.process_time() - begin)
            return result

        return call

    for name in MODULES:
        *path, method = name.split('.')
        owner = getattr(detector, path[0]) if path else detector
        if owner is not None:
            setattr(owner, method, timed(name, getattr(owner, method)))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default=str(ROOT / 'configs/turbotrain/finetune_v2xpnp.py'))
    parser.add_argument('--data-root', type=Path, default=ROOT / 'data/mini_v2xpnp')
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    init_default_scope('mmdet3d')
    cfg = Config.fromfile(args.config)
    cfg.test_dataloader.dataset.data_root = str(args.data_root)
    cfg.model.test_cfg.update(score_thr=0.0, max_num=OBJECTS)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = f'{folder}/model.pth'
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), path)
        model = OnlineModel(cfg, path, 'cpu')
    recording = open_recording(model)
    costs = new_frame_costs(model, recording, args.repeats)
    seconds = watch(model.detector)
    new_frame_costs(model, recording, 1)
    # The offline detector comes last, and its calls are left out.
    rows = {name: 1e3 * float(np.median(found[:-1])) for name, found in seconds.items()}
    print('| module | runs with | ms |\n|---|---|---:|')
    for name, value in rows.items():
        print(f'| `{name}` | {MODULES[name]} | {value:.0f} |')
    ego = sum(costs[name] for name in ('see', 'receive', 'detect'))
    sums = dict(
        sender=costs['encode'],
        ego=ego,
        all=ego + (costs['agents'] - 1) * costs['encode'],
        offline=costs['offline'],
    )
    for name, value in sums.items():
        print(f'{name}: {value:.2f} s, {value / costs["offline"]:.2f} x offline')
    told = dict(costs=costs, modules_ms=rows, over_offline=round(ego / costs['offline'], 3))
    print(json.dumps(told | circumstances()))


if __name__ == '__main__':
    main()
