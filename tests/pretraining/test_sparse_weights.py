"""Weights of sparse convolutions, whose layers look at versions, arrive where they should."""

import copy
import io

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import _load_checkpoint_to_model

from tools.analysis.probe_trunk import load_trunk
from tools.publish import weights_alone
from turbotrain.commands import ROOT

CONFIGS = ROOT / 'configs/turbotrain/mini'


@pytest.fixture(scope='module')
def configs() -> dict:
    init_default_scope('mmdet3d')
    names = dict(pretrainer='pretrain_mini_v2xpnp_sparse', detector='finetune_mini_v2xpnp_sparse')
    return {key: Config.fromfile(CONFIGS / f'{name}.py').model for key, name in names.items()}


def saved(model: torch.nn.Module) -> dict:
    """A checkpoint as it comes from a file."""
    file = io.BytesIO()
    torch.save(dict(state_dict=model.state_dict()), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def not_taken(model: torch.nn.Module, checkpoint: dict) -> list[str]:
    given, own = checkpoint['state_dict'], model.state_dict()
    both = own.keys() & given.keys()
    assert any('encoder.stages' in key for key in both)
    return sorted(key for key in both if not torch.equal(own[key], given[key].to(own[key])))


@pytest.mark.parametrize('giver', ['pretrainer', 'detector'])
@pytest.mark.parametrize('taker', ['pretrainer', 'detector'])
def test_whoever_gives_them_and_whoever_takes_them(configs, giver, taker):
    checkpoint = saved(MODELS.build(configs[giver]))
    model = MODELS.build(configs[taker])
    assert not_taken(model, checkpoint)
    _load_checkpoint_to_model(model, copy.deepcopy(checkpoint))
    assert not_taken(model, checkpoint) == []


def test_parts_and_published_ones(configs, tmp_path):
    checkpoint, path = saved(MODELS.build(configs['pretrainer'])), tmp_path / 'some.pth'
    torch.save(checkpoint, path)
    model = MODELS.build(configs['detector'])
    load_trunk(model, path)
    assert not_taken(model, checkpoint) == []
    path.write_bytes(weights_alone(checkpoint))
    model = MODELS.build(configs['detector'])
    load_trunk(model, path)
    published = torch.load(path, weights_only=True)
    assert not_taken(model, published) == []
