"""The probe of a frozen trunk measures what it says."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from tools.analysis import probe_trunk
from turbotrain.commands import ROOT
from turbotrain.errors import UserError

LIMITS = [-8.0, -4.0, -1.0, 8.0, 4.0, 1.0]


def test_cells_lie_in_turned_boxes_and_no_box_is_without_one():
    boxes = torch.tensor(
        [[1.3, -0.4, 0, 4.2, 1.7, 1, 0.6], [-5.1, 2.2, 0, 0.3, 0.2, 1, 2.0], [30, 0, 0, 4, 2, 1, 0]]
    )
    cell, box = probe_trunk.cells_of(boxes, LIMITS, 16, 32)
    wanted = set()
    for m, (x, y, _, length, width, _, yaw) in enumerate(boxes.tolist()):
        for row in range(16):
            for column in range(32):
                dx, dy = -8 + 0.5 * (column + 0.5) - x, -4 + 0.5 * (row + 0.5) - y
                along = dx * np.cos(yaw) + dy * np.sin(yaw)
                across = dy * np.cos(yaw) - dx * np.sin(yaw)
                own = max(abs(dx), abs(dy)) <= 0.25
                if own or (abs(along) <= length / 2 and abs(across) <= width / 2):
                    wanted.add((row * 32 + column, m))
    assert set(zip(cell.tolist(), box.tolist(), strict=True)) == wanted
    assert {0, 1} == set(box.tolist())


def test_a_layer_from_several_batches_is_that_of_all_rows():
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(300, 7, generator=generator)
    values = torch.rand(300, 2, generator=generator)
    layer = probe_trunk.LeastSquares()
    for part in (slice(100), slice(100, 300)):
        layer.add(rows[part], values[part])
    expected = np.linalg.lstsq(rows.double().numpy(), values.double().numpy(), rcond=None)[0]
    np.testing.assert_allclose(layer.solve().numpy(), expected, atol=2e-3)


def test_the_rank_is_of_how_rows_vary_whatever_their_mean():
    rows = torch.tensor([[1.0, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]]) + torch.tensor(
        [5, 3, 9]
    )
    layer = probe_trunk.LeastSquares()
    layer.add(torch.cat([rows, torch.ones(4, 1)], dim=1), rows)
    np.testing.assert_allclose(layer.covariance().numpy(), np.diag([1.0, 1, 0]), atol=1e-6)
    assert probe_trunk.effective_rank(layer.covariance()) == pytest.approx(2)


def test_what_the_features_say_is_measured_whole_and_what_they_hide_is_not():
    label, cell = torch.tensor([0, 0, 1]), torch.tensor([3, 4, 9])
    yaw, speed = torch.tensor([0.3, 2.0, -1.0]), torch.tensor([[3.0, 4], [0, 0], [0, 2]])
    heading = torch.stack([yaw.cos(), yaw.sin()], dim=1)
    features = torch.zeros(12, 7)
    features[cell, label] = 1
    occupied = features[:, :2].bool()
    features[cell, 2:4], features[cell, 4:6] = heading, speed
    known = torch.tensor([[1.0], [1], [0]])
    sample = (features, occupied, cell, heading, torch.cat([speed, known], dim=1))
    layers = [torch.eye(7)[:, part] for part in (slice(2), slice(2, 4), slice(4, 6))]
    found = probe_trunk.measure([sample, sample], layers, ['car', 'truck'])
    assert found == pytest.approx(
        {'AP/car': 100, 'AP/truck': 100, 'mAP': 100, 'heading': 0, 'velocity': 0}, abs=0.05
    )
    blind = [layer * 0 for layer in layers]
    found = probe_trunk.measure([sample], blind, ['car', 'truck'])
    assert found['AP/car'] < 50 and found['heading'] == pytest.approx(90)
    assert found['velocity'] == pytest.approx(5)  # of the one that is known and moves


def test_a_trunk_is_probed_on_scenes_of_both_splits(data_root, tmp_path):
    cfg = Config.fromfile(ROOT / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py')
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(data_root)
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    model = probe_trunk.MODELS.build(cfg.model)
    trunk = {k: v + 1 for k, v in model.state_dict().items() if 'head' not in k}
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=trunk), path)
    probe_trunk.load_trunk(model, path)
    assert all(torch.equal(v, trunk[k]) for k, v in model.state_dict().items() if k in trunk)
    found = probe_trunk.probe(model, cfg, 2)
    assert 1 <= found['rank'] <= 64 and 0 <= found['mAP'] <= 100
    del trunk['temporal_neck.out.weight']
    torch.save(dict(state_dict=trunk), path)
    with pytest.raises(UserError, match=r'temporal_neck\.out\.weight of the trunk is missing'):
        probe_trunk.load_trunk(model, path)
