"""What the profile of the benchmark says of modules grows as it has to."""

import importlib
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / 'configs/benchmark/mini'


@pytest.fixture
def module_costs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools/costs')
    module = importlib.import_module('module_costs')
    monkeypatch.setattr(module, 'POINTS', 500)
    return module.module_costs


def test_costs_grow_with_agents_where_agents_are(module_costs):
    cfg = Config.fromfile(MINI / 'attfuse_mini_v2xpnp.py')
    small, large = (module_costs(cfg, agents, 1, repeats=1, seed=0) for agents in (2, 4))
    parts = ['encoder', 'backbone', 'neck', 'temporal_neck', 'fusion_neck', 'bev_neck',
             'bbox_head', 'velocity_head', 'trajectory_head']  # fmt: skip
    assert list(small) == list(large) == parts
    assert all(cost['ms'] > 0 for cost in small.values())
    growth = {part: large[part]['MB'] / small[part]['MB'] for part in parts}
    for part in parts[:5]:
        assert growth[part] == pytest.approx(2, abs=0.35), part
    # The heads work on the one fused map.
    for part in parts[5:]:
        assert growth[part] == pytest.approx(1, abs=0.02), part
    # At least the maps (agents, 64, 32, 64) in float32, their fusion and the gradient of both.
    assert large['fusion_neck']['MB'] >= 4 * 64 * 32 * 64 * 4 / 2**20


def test_costs_grow_with_frames_up_to_the_temporal_neck(module_costs):
    cfg = Config.fromfile(MINI / 'f-cooper_mini_v2xpnp.py')
    past = Config(dict(cfg, model=dict(cfg.model, past_gradients=True)))
    one, three, learning = (
        module_costs(own, 1, frames, repeats=1, seed=0)
        for own, frames in ((cfg, 1), (cfg, 3), (past, 3))
    )
    assert learning['backbone']['MB'] == pytest.approx(3 * one['backbone']['MB'], rel=0.2)
    # What is encoded without gradients is not kept, and encoded by itself.
    assert three['backbone']['MB'] < 0.5 * learning['backbone']['MB']
    assert three['fusion_neck']['MB'] == pytest.approx(one['fusion_neck']['MB'], abs=0.01)
