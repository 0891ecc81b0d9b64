"""The sweep over bad communication: what it changes, what it keeps, and that it goes on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config

from tests.scenes import write_scenario
from tools.benchmark import robustness
from turbotrain.datasets import build_infos, save_infos
from turbotrain.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py'


def types(cfg):
    return [transform['type'] for transform in cfg.test_dataloader.dataset.pipeline]


@pytest.mark.parametrize(
    ('sweep', 'value', 'added', 'before'),
    [
        ('delay', 300, dict(type='CooperativeDelay', delay=0.3), 'LoadCooperativePoints'),
        (
            'dropout',
            25,
            dict(type='CooperativeAgentDropout', probability=0.25),
            'LoadCooperativePoints',
        ),
        ('position', 0.4, dict(type='CooperativePoseNoise', position=0.4), 'ProjectPointsToEgo'),
        ('heading', 0.2, dict(type='CooperativePoseNoise', heading=0.2), 'ProjectPointsToEgo'),
    ],
)
def test_a_transform_is_added_where_it_belongs(sweep, value, added, before):
    cfg = Config.fromfile(CONFIG)
    plain = types(cfg)
    robustness.disturb(cfg, sweep, value)
    found = types(cfg)
    place = found.index(added['type'])
    assert dict(cfg.test_dataloader.dataset.pipeline[place]) == added
    assert place < found.index(before)
    assert found[:place] + found[place + 1 :] == plain


@pytest.mark.parametrize('method', ['faf', 'no-fusion', 'early-fusion', 'late-fusion'])
def test_methods_without_maps_to_send(method, tmp_path, monkeypatch):
    """Delays and silence come before the ego is left alone; no map is there to be compressed."""
    write_scenario(tmp_path, 'test', frames=range(15))
    save_infos(str(tmp_path / 'v2xpnp_infos_test.npz'), build_infos(str(tmp_path), 'test'))
    for sweep, value in (('delay', 300), ('dropout', 50), ('position', 0.4)):
        cfg = Config.fromfile(ROOT / f'configs/benchmark/mini/{method}_mini_v2xpnp.py')
        cfg.test_dataloader.dataset.data_root = str(tmp_path)
        robustness.disturb(cfg, sweep, value)
        assert len(DATASETS.build(cfg.test_dataloader.dataset)[0]['inputs']['points'])
    cfg.dump(tmp_path / 'own.py')
    (tmp_path / 'a.pth').write_bytes(b'')  # is not read before that
    words = [str(tmp_path / 'own.py'), str(tmp_path / 'a.pth'), '--out', str(tmp_path / 'kept')]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['robustness.py', *words])
    with pytest.raises(UserError, match='name the other sweeps'):
        robustness.main()


def test_compression_sends_as_much_less_as_it_says():
    cfg = Config.fromfile(CONFIG)
    robustness.disturb(cfg, 'compression', 1)
    assert cfg.model.get('compression') is None
    cells, channels = 10_000, 64
    for ratio in robustness.SWEEPS['compression'][2][1:]:
        own = Config.fromfile(CONFIG)
        robustness.disturb(own, 'compression', ratio)
        size = MODELS.build(own.model.compression).message_bytes(cells, channels)
        # The channels themselves travel, too.
        assert 0.75 * ratio < 4 * cells * channels / size <= ratio
    with pytest.raises(UserError, match='compression of its own'):
        robustness.disturb(own, 'compression', 2)


def test_the_command_goes_on_where_it_was_and_refuses_another_checkpoint(
    tmp_path, monkeypatch, capsys
):
    data = tmp_path / 'data'
    write_scenario(data, 'test', frames=range(1))
    save_infos(str(data / 'v2xpnp_infos_test.npz'), build_infos(str(data), 'test'))
    cfg = Config.fromfile(CONFIG)
    cfg.model.trajectory_head = None  # so that there is no EPA
    cfg.test_dataloader.dataset.data_root = str(data)
    cfg.test_dataloader.num_workers = 0
    cfg.dump(tmp_path / 'own.py')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'a.pth')
    words = ['own.py', 'a.pth', '--samples', '1', '--out', 'kept', '--sweeps', 'dropout']

    done = subprocess.run(
        [sys.executable, ROOT / 'tools/benchmark/robustness.py', *words],
        cwd=tmp_path, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    kept = json.loads((tmp_path / 'kept/robustness.json').read_text())
    bytes_sent = [m['message_bytes'] for m in kept['sweeps']['dropout'].values()]
    assert kept['about']['mode'] == 'vc'
    assert list(kept['sweeps']['dropout']) == ['0', '25', '50', '75', '100']
    assert bytes_sent[0] > 0 and bytes_sent[-1] == 0
    assert kept['sweeps']['dropout']['0']['EPA'] is None
    kept['sweeps']['dropout']['0']['EPA'] = 12.3  # would be overwritten if it were tested again
    (tmp_path / 'kept/robustness.json').write_text(json.dumps(kept))

    def again():
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['robustness.py', *words, 'delay'])
        robustness.main()

    again()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last['sweeps']['dropout']['0']['EPA'] == 12.3
    assert len(last['sweeps']['delay']) == 6
    assert (tmp_path / 'kept/robustness.png').read_bytes()[:4] == b'\x89PNG'
    torch.save(dict(state_dict={}), tmp_path / 'a.pth')
    with pytest.raises(UserError, match='name an --out'):
        again()


def test_results_are_of_one_mode_and_go_on_whatever_the_options_were(tmp_path):
    about = dict(mode='vc', options={'a.b': (1, 2)})
    robustness.Results(tmp_path, about).add('delay', 0.5, dict(EPA=1.0))
    assert robustness.Results(tmp_path, about).has('delay', 0.5)
    with pytest.raises(UserError, match='name an --out'):
        robustness.Results(tmp_path, about | dict(mode='ic'))
