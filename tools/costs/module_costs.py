"""Time and peak memory of each module of a detector, alone, by agents and frames."""

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from tools.costs.memory import peak_megabytes
from turbotrain.structures import INFRASTRUCTURE, VEHICLE, Agents

AGENTS, FRAMES = (1, 2, 4, 8), (1, 3, 5)
POINTS, OBJECTS, POLYLINES = 10_000, 40, 100  # about those of the mini set


def agents_in_one_place(agents: int, frames: int, points_in_ego: bool) -> Agents:
    """A vehicle, a roadside unit, a vehicle ..., all where the ego is, twice a second."""
    ids = np.array([1 + i // 2 if i % 2 == 0 else -(1 + i // 2) for i in range(agents)])
    return Agents(
        ids=ids,
        kinds=np.where(ids < 0, INFRASTRUCTURE, VEHICLE),
        time_offsets=0.5 * np.arange(1 - frames, 1, dtype=np.float32),
        ego_from_agent=np.tile(np.eye(4), (agents, frames, 1, 1)),
        valid=np.ones((agents, frames), dtype=bool),
        speeds=np.zeros(agents, dtype=np.float32),
        delays=np.zeros(agents, dtype=np.float32),
        points_in_ego=points_in_ego,
    )


def synthetic_batch(cfg: Config, agents: int, frames: int, seed: int) -> dict:
    """One sample of evenly spread points, with cars and their paths; agents stand in one place."""
    rng = np.random.default_rng(seed)
    low, high = np.split(np.array(cfg.point_cloud_range), 2)
    low, high = low + 1e-3, high - 1e-3
    steps = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    clouds = rng.uniform([*low[:2], -2.0, 0], [*high[:2], 1.0, 0], (agents * frames, POINTS, 4))
    polylines = np.zeros((POLYLINES, 10, 7), dtype=np.float32)
    polylines[..., :2] = rng.uniform(low[:2], high[:2], (POLYLINES, 1, 2))
    polylines[..., 0] += np.arange(10)
    sample = Det3DDataSample()
    sample.set_metainfo(
        dict(
            agents=agents_in_one_place(agents, frames, 'ProjectPointsToEgo' in steps),
            num_points=[POINTS] * len(clouds),
            vector_map=polylines,
            vector_map_mask=np.ones((POLYLINES, 10), dtype=bool),
            box_type_3d=LiDARInstance3DBoxes,
        )
    )
    centre = rng.uniform([*low[:2] + 5, -1.8], [*high[:2] - 5, -1.7], (OBJECTS, 3))
    shape = np.tile([4.7, 1.9, 1.6, 0.3], (OBJECTS, 1))
    futures = centre[:, None, :2] + 0.5 * np.arange(1, 7)[:, None]
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(np.hstack([centre, shape]).astype(np.float32)),
        labels_3d=torch.zeros(OBJECTS, dtype=torch.int64),
        future_trajectories=torch.from_numpy(futures).float(),
        future_valid=torch.ones(OBJECTS, 6, dtype=torch.bool),
        velocity=torch.zeros(OBJECTS, 2),
        velocity_valid=torch.ones(OBJECTS, dtype=torch.bool),
        acceleration=torch.zeros(OBJECTS, 2),
        acceleration_valid=torch.ones(OBJECTS, dtype=torch.bool),
    )
    points = torch.from_numpy(clouds.reshape(-1, 4)).float()
    return dict(inputs=dict(points=[points]), data_samples=[sample])


def record_calls(model: nn.Module, batch: dict) -> dict[str, list[Callable[[], Any]]]:
    """Run the loss once; for each child of the model, its calls as functions that repeat them."""
    calls: dict[str, list[Callable[[], Any]]] = {}
    # Heads are called by their loss, all other modules by their forward.
    ways = 'loss', 'loss_and_predict', 'forward'
    methods = {
        name: (module, next(way for way in ways if hasattr(module, way)))
        for name, module in model.named_children()
        if name != 'data_preprocessor'
    }

    def spied(name: str, module: nn.Module, real: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            inputs, learns = detached((args, kwargs)), torch.is_grad_enabled()

            def again() -> Any:
                module.zero_grad(set_to_none=True)
                args, kwargs = detached(inputs)
                with torch.set_grad_enabled(learns):
                    return real(*args, **kwargs)

            calls.setdefault(name, []).append(again)
            return real(*args, **kwargs)

        return call

    for name, (module, method) in methods.items():
        setattr(module, method, spied(name, module, getattr(module, method)))
    model(**model.data_preprocessor(batch, training=True), mode='loss')
    for module, method in methods.values():
        delattr(module, method)
    return calls


def detached(value: Any) -> Any:
    """The same values as leaves of a new graph."""
    if isinstance(value, Tensor):
        return value.detach().requires_grad_(value.requires_grad)
    if isinstance(value, dict):
        return {key: detached(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(detached, value))
    if hasattr(value, '_fields'):  # of a NamedTuple
        return type(value)(*map(detached, value))
    return value


def tensors(value: Any) -> list[Tensor]:
    """All tensors with a gradient in a nest of dictionaries, lists and tuples."""
    if isinstance(value, Tensor):
        return [value] if value.requires_grad else []
    if isinstance(value, dict):
        value = list(value.values())
    return list(itertools.chain(*map(tensors, value))) if isinstance(value, list | tuple) else []


def forward_and_backward(call: Callable[[], Any]) -> None:
    outputs = tensors(call())
    if outputs:
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])


def seconds_of(call: Callable[[], Any], repeats: int) -> float:
    """The fastest, which was disturbed least; the first, which warms up, does not count."""
    device_ready = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    seconds = []
    for _ in range(repeats + 1):
        device_ready()
        start = time.perf_counter()
        forward_and_backward(call)
        device_ready()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def module_costs(cfg: Config, agents: int, frames: int, repeats: int, seed: int) -> dict:
    """Name of each child of a detector -> milliseconds and MB of its calls in one training step."""
    torch.manual_seed(seed)
    if cfg.model.get('velocity_head'):
        cfg.model.velocity_head.num_frames = frames
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        model = MODELS.build(cfg.model).train()
    if torch.cuda.is_available():
        model.to('cuda')
    calls = record_calls(model, synthetic_batch(cfg, agents, frames, seed))
    return {
        name: dict(
            ms=round(1e3 * sum(seconds_of(call, repeats) for call in own), 2),
            MB=round(max(peak_megabytes(partial(forward_and_backward, call)) for call in own), 2),
        )
        for name, own in calls.items()
    }
