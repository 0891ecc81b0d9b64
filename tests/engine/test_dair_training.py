"""Both stages of mini's models, two epochs each, on a scene in the layouts of DAIR-V2X's sets."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.commands import run_main
from tests.dair import NAMES
from tests.layouts import rewrite
from tools import train
from turbotrain.datasets import build_infos, save_infos
from turbotrain.engine import read_checkpoint

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/turbotrain/mini'


@pytest.mark.parametrize('dataset', NAMES)
def test_both_stages_run_two_epochs(dataset, tiny_set, tmp_path, monkeypatch, capsys):
    data = tmp_path / 'data'
    rewrite(tiny_set, data, dataset)
    infos = data / f'{dataset}_infos_train.npz'
    save_infos(str(infos), build_infos(str(data), 'train', dataset))
    before = [f'train_dataloader.dataset.ann_file={infos.name}']
    if dataset == 'dair_v2x_c':
        before.append('train_dataloader.dataset.num_future=0')
    for stage, name in (('pretrain', 'v2xpnp'), ('finetune', dataset)):
        monkeypatch.chdir(tmp_path)  # which the command leaves
        options = [
            f'train_dataloader.dataset.data_root={data}', 'train_dataloader.dataset.indices=1',
            'train_dataloader.num_workers=0', 'train_cfg.max_epochs=2',
            'default_hooks.draw_samples=None', *before,
        ]  # fmt: skip
        words = CONFIGS / f'{stage}_mini_{name}.py', '--work-dir', tmp_path / stage
        assert run_main(train, monkeypatch, *words, '--cfg-options', *options) == 0
        before = [
            f'load_from={tmp_path / "pretrain/epoch_2.pth"}', 'train_cfg.val_interval=2',
            'val_dataloader.num_workers=0', f'val_dataloader.dataset.data_root={data}',
            f'val_dataloader.dataset.ann_file={infos.name}',
            'val_dataloader.dataset.indices=1',
        ]  # fmt: skip
        weights = read_checkpoint(str(tmp_path / stage / 'epoch_2.pth'))
        assert weights['meta']['epoch'] == 2
        assert all(np.isfinite(value.float()).all() for value in weights['state_dict'].values())
    scalars = next((tmp_path / 'finetune').glob('*/vis_data/scalars.json')).read_text()
    found = {key for line in scalars.splitlines() for key in json.loads(line)}
    assert {'loss_cls', 'loss_bbox', 'mAP@0.5'} <= found
    assert ('loss_trajectory' in found) == (dataset == 'v2x_seq')
