"""On a GPU: the same numbers as on the CPU, and no waiting for it per agent or frame."""

import warnings
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from tests.models.methods import CONFIGS, build, open_split, save_teacher
from turbotrain.pretraining.ground import ground_grid, heights_above_ground

MINI = Path(__file__).parents[2] / 'configs/turbotrain/mini'
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason='there is no GPU here; tools/gpu_check.sh runs these on a machine that has one',
)


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)


def open_model(path, tmp_path):
    cfg = Config.fromfile(path)
    if 'teacher' in cfg.model:
        save_teacher(cfg, tmp_path)
    return cfg, build(cfg)


@pytest.mark.parametrize('path', CONFIGS, ids=[path.stem for path in CONFIGS])
def test_equals_the_cpu(path, infos, tiny_set, tmp_path):
    cfg, model = open_model(path, tmp_path)
    model.eval()
    batch = pseudo_collate([open_split(cfg, infos, tiny_set, 'test')[3]])
    seen = []
    model.bbox_head.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].cpu()))
    for device in ('cpu', 'cuda'):
        model.to(device)
        with torch.no_grad():
            (found,) = model.test_step(batch)
        assert found.pred_instances_3d.trajectories.device.type == device
    torch.testing.assert_close(seen[-1], seen[0], atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'amp'])
@pytest.mark.parametrize('path', CONFIGS, ids=[path.stem for path in CONFIGS])
def test_trains(path, amp, infos, tiny_set, tmp_path):
    cfg, model = open_model(path, tmp_path)
    model.to('cuda')
    dataset = open_split(cfg, infos, tiny_set, 'train')
    batch = pseudo_collate([dataset[len(dataset) // 2], dataset[-1]])
    data = model.data_preprocessor(batch, training=True)
    with torch.autocast('cuda', enabled=amp):
        total, _ = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'amp'])
def test_pretrains(amp, infos, tiny_set):
    cfg = Config.fromfile(MINI / 'pretrain_mini_v2xpnp.py')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to('cuda')
    dataset = open_split(cfg, infos, tiny_set, 'train')
    batch = pseudo_collate([dataset[0], dataset[-1]])
    data = model.data_preprocessor(batch, training=True)
    with torch.autocast('cuda', enabled=amp):
        total, _ = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_the_ground_is_found_without_a_wait():
    limits = [-48.0, -24.0, -5.0, 48.0, 24.0, 3.0]
    points = (torch.rand(5000, 3) - 0.5) * torch.tensor([96.0, 48.0, 2.0])
    given = points, torch.arange(5000) % 2, torch.tensor(limits)
    shape = (2, *ground_grid(limits))
    on_gpu = [part.cuda() for part in given]
    torch.cuda.set_sync_debug_mode('error')
    try:
        found = heights_above_ground(*on_gpu, shape)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    torch.testing.assert_close(found.cpu(), heights_above_ground(*given, shape))


@pytest.mark.parametrize('path', CONFIGS, ids=[path.stem for path in CONFIGS])
def test_waits_do_not_grow_with_agents_and_samples(path, infos, tiny_set, tmp_path):
    cfg, model = open_model(path, tmp_path)
    model.to('cuda')
    dataset = open_split(cfg, infos, tiny_set, 'train')
    waits = []
    for count in (1, 1, 3):  # the first one warms up
        batch = pseudo_collate([dataset[-1 - i] for i in range(count)])
        data = model.data_preprocessor(batch, training=True)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode('warn')
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always')
                model.extract_feat(data['inputs'], data['data_samples'])
        finally:
            torch.cuda.set_sync_debug_mode('default')
        places = sorted(
            f'{w.filename}:{w.lineno}' for w in caught if 'synchroniz' in str(w.message)
        )
        waits.append(places)
    assert len(waits[2]) <= len(waits[1]), waits
