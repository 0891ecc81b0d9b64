"""Every method of the benchmark on real samples, from its config."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from tests.elsewhere import DEVICE, second_device
from tests.models.methods import CONFIGS, build, open_split, save_teacher
from turbotrain.datasets import V2XPnPDataset


def occupied(sample: dict) -> list[int]:
    """Bytes that name the cells of 0.4 x 0.4 x 0.25 m that each of the others has points in."""
    agents = sample['data_samples'].agents
    low = torch.tensor([-51.2, -25.6, -5.0])
    shape = torch.tensor([256, 128, 32])
    clouds = sample['inputs']['points'].split(sample['data_samples'].num_points)
    sizes = []
    for n in range(1, len(agents)):
        count = 0
        for cloud in clouds[n * agents.num_frames : (n + 1) * agents.num_frames]:
            cell = ((cloud[:, :3] - low) / torch.tensor([0.4, 0.4, 0.25])).floor()
            inside = ((cell >= 0) & (cell < shape)).all(dim=1)
            count += len(torch.unique(cell[inside], dim=0))
        sizes.append(-(-20 * count // 8))  # 2^20 cells
    return sizes


@pytest.mark.parametrize('path', CONFIGS, ids=[path.stem for path in CONFIGS])
def test_trains_and_predicts(path, infos, tiny_set, tmp_path, monkeypatch):
    cfg = Config.fromfile(path)
    expected = {
        'loss_cls', 'loss_bbox', 'loss_dir', 'loss_step', 'loss_velocity', 'loss_acceleration',
        'loss_moving', 'loss_trajectory',
    }  # fmt: skip
    modes = cfg.model.trajectory_head.get('num_modes', 1)
    if modes > 1:
        expected.add('loss_trajectory_mode')
    if 'teacher' in cfg.model:
        expected.add('loss_distill')
        save_teacher(cfg, tmp_path)
    dataset = open_split(cfg, infos, tiny_set, 'train')
    batch = pseudo_collate([dataset[len(dataset) // 2], dataset[-1]])
    sample = open_split(cfg, infos, tiny_set, 'test')[3]
    with second_device(monkeypatch):
        model = build(cfg).to(DEVICE)
        data = model.data_preprocessor(batch, training=True)
        losses = model(**data, mode='loss')
        total = sum(sum(v) if isinstance(v, list) else v for v in losses.values())
        assert set(losses) == expected
        total.backward()
        assert torch.isfinite(total)
        # The relation of an edge that no sample of the batch has gets no gradient: zero, not None.
        assert all(p.grad is not None for p in model.parameters())
        model.eval()
        with torch.no_grad():
            (found,) = model.test_step(pseudo_collate([sample]))
        assert found.pred_instances_3d.trajectories.device.type == DEVICE.type
    assert found.pred_instances_3d.trajectories.shape[1:] == (modes, 6, 2)
    assert found.pred_instances_3d.trajectory_scores.shape[1:] == (modes,)
    alone = path.stem.startswith(('no-fusion', 'faf'))
    assert len(found.agents) == (1 if alone or 'early' in path.stem else 4)
    # Ground truth is the same for every method: what all agents label.
    assert len(found.gt_instances_3d) == len(
        plain(infos, tiny_set)[3]['data_samples'].gt_instances_3d
    )
    if alone:
        assert found.message_bytes == []
    elif 'late' in path.stem:
        assert len(found.message_bytes) == 3
        assert all(size % (4 * (7 + 2 + 2 + 12)) == 0 for size in found.message_bytes)
    elif 'early' in path.stem:
        assert len(found.message_bytes) == 3 and max(found.message_bytes) % 16 == 0
    elif 'where2comm' in path.stem:
        counts = model.fusion_neck.sent_cells[0, 1:].tolist()
        assert all(0 < count <= 0.2 * 32 * 64 for count in counts)
        maps = [4 * 64 * count + 32 * 64 // 8 for count in counts]
        assert found.message_bytes == [a + b for a, b in zip(maps, occupied(sample), strict=True)]
    else:
        flow = 64 if 'ffnet' in path.stem else 2 if 'cobevflow' in path.stem else 0
        maps = (64 + flow) * 32 * 64 * 4
        assert found.message_bytes == [maps + size for size in occupied(sample)]


def plain(infos: Path, root: Path) -> V2XPnPDataset:
    return open_split(Config.fromfile(named('v2xpnp_mini')), infos, root, 'test')


def named(start: str) -> Path:
    return next(path for path in CONFIGS if path.stem.startswith(start))


def test_early_fusion_merges_all_points(infos, tiny_set):
    apart = plain(infos, tiny_set)[3]
    merged = open_split(Config.fromfile(named('early')), infos, tiny_set, 'test')[3]
    frames = merged['data_samples'].agents.num_frames
    counts = np.reshape(apart['data_samples'].num_points, (-1, frames)).sum(axis=0)
    assert merged['data_samples'].num_points == counts.tolist()
    rows = sorted(map(tuple, apart['inputs']['points'].tolist()))
    assert sorted(map(tuple, merged['inputs']['points'].tolist())) == rows


@pytest.mark.parametrize('method', ['ffnet', 'cobevflow'])
def test_late_messages_are_compensated(infos, tiny_set, method):
    """From the config's delays to the fused map."""
    cfg = Config.fromfile(named(method))
    model = build(cfg).eval()
    delay = [dict(type='CooperativeDelay', delay=0.5)]
    cfg.test_dataloader.dataset.pipeline = delay + cfg.test_dataloader.dataset.pipeline
    data = model.data_preprocessor(pseudo_collate([open_split(cfg, infos, tiny_set, 'test')[3]]))
    agents = data['data_samples'][0].agents
    assert agents.delays.tolist() == [0, 0.5, 0.5, 0.5]
    with torch.no_grad():
        late = model.extract_feat(data['inputs'], data['data_samples'])[0]
        agents.delays[:] = 0
        as_if_on_time = model.extract_feat(data['inputs'], data['data_samples'])[0]
    assert (late - as_if_on_time).abs().max() > 1e-4
    start = Config.fromfile(named(method)).train_dataloader.dataset.pipeline[0]
    assert start['type'] == 'CooperativeDelay'


def test_only_sent_cells_count_and_compressed(infos, tiny_set):
    cfg = Config.fromfile(named('where2comm'))
    cfg.model.compression = dict(type='FeatureCompression', channels=64, ratio=16, bits=8)
    model = build(cfg).eval()
    model.velocity_head = None
    data = model.data_preprocessor(pseudo_collate([open_split(cfg, infos, tiny_set, 'test')[3]]))
    with torch.no_grad():
        model.extract_feat(data['inputs'], data['data_samples'])
    counts = model.fusion_neck.sent_cells[0, 1:]
    assert counts.shape == (3,)
    found = data['data_samples'][0].message_bytes
    assert found == (4 * counts + 8 + 32 * 64 // 8).tolist()


def test_only_what_others_send_is_compressed(infos, tiny_set):
    cfg = Config.fromfile(named('f-cooper'))
    cfg.model.compression = dict(type='FeatureCompression', channels=64, ratio=16, bits=8)
    model = build(cfg).eval()
    model.velocity_head = None
    sample = open_split(cfg, infos, tiny_set, 'test')[3]
    data = model.data_preprocessor(pseudo_collate([sample]))
    seen = []
    model.fusion_neck.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(args[0]), with_kwargs=True
    )
    model.temporal_neck.register_forward_hook(lambda *args: seen.append(args[-1]))
    with torch.no_grad():
        model.extract_feat(data['inputs'], data['data_samples'])
    own, received = seen
    assert torch.equal(own[0], received[0])
    assert not torch.equal(own[1], received[1])
    assert data['data_samples'][0].message_bytes == [4 * 32 * 64 + 8] * 3
