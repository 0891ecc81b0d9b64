"""On a device that is not the CPU, without one; see ``tests/elsewhere.py``."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper

from tests.elsewhere import DEVICE, needs_second_device, second_device
from tests.models.methods import CONFIGS, build, open_split, save_teacher

MINI = Path(__file__).parents[2] / 'configs/turbotrain/mini'
pytestmark = needs_second_device


def test_what_the_second_device_notes(monkeypatch):
    with second_device(monkeypatch) as waits:
        there = torch.arange(4.0, device=DEVICE)
        assert there.device.type == DEVICE.type
        number = torch.tensor(1.0)
        for mixed in (
            lambda: there + torch.ones(4),
            lambda: torch.ones(4)[there.long()],
            lambda: torch.cat([there, torch.ones(1)]),
            lambda: torch.stack([there[0], number]),
            lambda: there.index_put((torch.tensor([1, 2]),), torch.ones(2)),
        ):
            with pytest.raises(RuntimeError, match='two devices'):
                mixed()
        assert (there + number).device == there.device
        layer = torch.nn.Linear(4, 4).to(DEVICE)
        layer(there).square().sum().backward()
        assert layer.weight.grad.device == there.device
        del waits[:]
        there.mul_(2)
        there[there > 2] = 0.0
        assert not waits
        for waiting in (
            lambda: there.sum().item(),
            lambda: bool(there[0] > 1),
            lambda: there[there > 1],
            lambda: there.nonzero(),
            lambda: there.cpu(),
            lambda: there.tolist(),
            lambda: torch.ones(4).to(DEVICE),
            lambda: there[torch.tensor([1])],
            lambda: torch.linalg.inv(torch.eye(3, device=DEVICE)),
            lambda: torch.allclose(there, there),
        ):
            before = len(waits)
            waiting()
            assert len(waits) == before + 1
        torch.ones(4).to(DEVICE, non_blocking=True)
        assert len(waits) == before + 1
    assert torch.equal(there.here, torch.tensor([0.0, 2.0, 0.0, 0.0]))


@pytest.mark.parametrize('stage', ['pretrain', 'finetune'])
def test_trains_as_on_the_cpu_and_waits_no_more_for_more_samples(
    stage, infos, tiny_set, monkeypatch
):
    cfg = Config.fromfile(MINI / f'{stage}_mini_v2xpnp.py')
    dataset = open_split(cfg, infos, tiny_set, 'train')
    batches = [pseudo_collate([dataset[-1 - i] for i in range(count)]) for count in (1, 3)]
    if 'schedule' in cfg.optim_wrapper:
        cfg.optim_wrapper.schedule.update(free=0, suppress=1)

    def train(device: torch.device) -> Iterator[dict[str, float]]:
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).to(device).train()
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        for batch in batches:
            losses = model.train_step(batch, optim_wrapper)
            yield {name: float(value) for name, value in losses.items()}

    places, found = [], []
    with second_device(monkeypatch) as waits:
        for losses in train(DEVICE):
            found.append(losses)
            places.append(Counter(waits))
            del waits[:]
    first, second = train(torch.device('cpu'))
    # Points on the border of a cell may be rounded to the other side.
    assert found[0] == pytest.approx(first, rel=1e-3)
    assert found[1]['loss'] == pytest.approx(second['loss'], rel=1e-3)
    more = places[1] - places[0]
    assert not [place for place in more if place.startswith('turbotrain/')], more
    # mmdet3d's heads wait for each sample, and nobody for each object.
    assert max(more.values(), default=0) <= 24


@pytest.mark.parametrize('path', CONFIGS, ids=[path.stem for path in CONFIGS])
def test_waits_do_not_grow_with_agents_and_samples(path, infos, tiny_set, tmp_path, monkeypatch):
    cfg = Config.fromfile(path)
    if 'teacher' in cfg.model:
        save_teacher(cfg, tmp_path)
    dataset = open_split(cfg, infos, tiny_set, 'train')
    batches = [pseudo_collate([dataset[-1 - i] for i in range(count)]) for count in (1, 3)]
    places = []
    with second_device(monkeypatch) as waits:
        model = build(cfg).to(DEVICE)
        for batch in batches:
            data = model.data_preprocessor(batch, training=True)
            del waits[:]
            with torch.no_grad():
                model.extract_feat(data['inputs'], data['data_samples'])
            places.append(Counter(waits))
    assert not places[1] - places[0]
