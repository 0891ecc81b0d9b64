"""Past frames that are encoded without gradients."""

from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config
from torch.nn import Parameter, functional
from torch.overrides import TorchFunctionMode

from tests.pretraining.masks import records

MINI = Path(__file__).parents[2] / 'configs/turbotrain/mini'
FRAMES = 3
TRUNK = ('encoder', 'backbone', 'neck')


@pytest.fixture(scope='module')
def batch() -> tuple[dict, list[Det3DDataSample]]:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([40.0, 20.0, 2.0, 1.0])
    samples, points = [], []
    for agents in records(2, 3, frames=FRAMES):
        count = len(agents) * FRAMES
        points.append(list((torch.rand(count, 150, 4, generator=generator) * 2 - 1) * scale))
        samples.append(Det3DDataSample(metainfo=dict(agents=agents)))
    return dict(points=points), samples


def detector(**changes) -> torch.nn.Module:
    cfg = Config.fromfile(MINI / 'finetune_mini_v2xpnp.py').model
    torch.manual_seed(0)
    # Batch norm's statistics of two batches are not those of one: of testing they are the same.
    return MODELS.build({**cfg, **changes}).eval()


def gradients(model: torch.nn.Module, batch) -> dict[str, torch.Tensor]:
    bev = model.extract_feat(*batch)[0]
    weights = torch.randn(bev.shape, generator=torch.Generator().manual_seed(1))
    (bev * weights).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_gradients_are_those_of_the_current_clouds(batch, monkeypatch):
    model, reference = detector(past_gradients=False), detector(past_gradients=True)
    encode = reference.encode_clouds

    def past_detached(clouds):
        maps = encode(clouds)
        now = torch.arange(len(maps)) % FRAMES == FRAMES - 1
        return torch.where(now[:, None, None, None], maps, maps.detach())

    whole = gradients(reference, batch)
    reference.zero_grad()
    monkeypatch.setattr(reference, 'encode_clouds', past_detached)
    expected, found = gradients(reference, batch), gradients(model, batch)
    assert found.keys() == expected.keys() == whole.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-3, msg=name)
        if name.startswith(TRUNK):
            assert not torch.allclose(value, whole[name], rtol=1e-2), name


class OldAutocast(TorchFunctionMode):
    """Autocast before torch 2.11: what a weight was cast to is kept, with or without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[torch.Tensor, torch.Tensor] = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (functional.linear, torch.conv2d, functional.conv2d):
            args = [self.cast(one) if isinstance(one, Parameter) else one for one in args]
        return function(*args, **(kwargs or {}))

    def cast(self, weight: Parameter) -> torch.Tensor:
        if weight not in self.kept:
            self.kept[weight] = weight.to(torch.bfloat16)
        return self.kept[weight]


def test_the_trunk_learns_with_automatic_mixed_precision(batch, monkeypatch):
    model, old = detector(past_gradients=False), OldAutocast()
    clear = torch.clear_autocast_cache
    monkeypatch.setattr(torch, 'clear_autocast_cache', lambda: (old.kept.clear(), clear()))
    expected = gradients(detector(past_gradients=False), batch)
    with torch.autocast('cpu', dtype=torch.bfloat16), old:
        found = gradients(model, batch)
    assert found.keys() == expected.keys()
    assert any(name.startswith('backbone') and 'weight' in name for name in found)


def test_past_maps_are_the_same_and_keep_nothing_for_the_backward_pass(batch):
    model, reference = detector(past_gradients=False), detector(past_gradients=True)
    maps, _ = model.encode(*batch)
    expected, _ = reference.encode(*batch)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5)

    def kept(of: torch.nn.Module) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda value: sizes.append(value.numel()) or value, lambda value: value
        ):
            of.encode(*batch)
        return sum(sizes)

    assert kept(model) < 0.45 * kept(reference)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(*batch)[0], expected, rtol=0, atol=0)


def test_samples_of_one_frame_learn_as_ever():
    inputs, samples = dict(points=[[torch.randn(90, 4)]]), records(1, frames=1)
    samples = [Det3DDataSample(metainfo=dict(agents=agents)) for agents in samples]
    model = detector(past_gradients=False, temporal_neck=None)
    assert {'encoder', 'backbone'} < {
        name.partition('.')[0] for name in gradients(model, (inputs, samples))
    }


def test_pretraining_learns_from_all_frames():
    cfg = Config.fromfile(MINI / 'pretrain_mini_v2xpnp.py').model
    cfg.detector.past_gradients = False
    assert MODELS.build(cfg).detector.past_gradients
