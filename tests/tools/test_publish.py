"""The weights in the repository are what their cards say, and still find what they found."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tools import publish
from turbotrain.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CARDS = sorted((ROOT / 'weights').glob('*.json'))


@pytest.fixture(scope='module')
def small_set(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('small') / 'set'


@pytest.mark.parametrize('card', CARDS, ids=lambda path: path.stem)
def test_kept_weights_are_what_their_card_says(card, small_set):
    about, weights = json.loads(card.read_text()), card.with_suffix('.pth')
    content = weights.read_bytes()
    assert len(content) == about['bytes'] <= publish.LARGEST
    assert hashlib.sha256(content).hexdigest() == about['sha256']
    state = torch.load(weights, weights_only=True)
    assert {*state} == {'state_dict', 'meta'}
    assert sum(v.numel() for v in state['state_dict'].values()) == about['parameters']
    cfg = Config.fromfile(ROOT / about['config'])
    if 'small_set' not in about:  # a pretrained trunk, which nothing is found with
        init_default_scope('mmdet3d')
        MODELS.build(cfg.model).load_state_dict(state['state_dict'])
        assert {'encoder', 'fusion_neck'} < {n.partition('.')[0] for n in state['meta']['trained']}
        return
    metrics = publish.small_metrics(cfg, weights, small_set)
    # Other versions and processors round otherwise.
    assert metrics == pytest.approx(about['small_set'], abs=1.0)


def test_what_is_published_is_small_and_whole():
    state = dict(
        a=torch.randn(3, 4), b=torch.tensor([1e6]), n=torch.tensor(7), c=torch.randn(2, 2, 2)
    )
    whole = dict(state_dict=state, optimizer=dict(big=torch.zeros(9)), meta=dict(seed=1))
    file = publish.weights_alone(whole)
    assert file == publish.weights_alone(whole)
    found = torch.load(publish.io.BytesIO(file), weights_only=True)
    assert 'optimizer' not in found and found['state_dict']['b'] == 1e6
    assert found['state_dict']['n'] == 7
    for name in 'ac':
        torch.testing.assert_close(
            found['state_dict'][name].float(), state[name], atol=1e-3, rtol=1e-3
        )
    with pytest.raises(UserError, match='a: has weights that half precision cannot hold'):
        publish.weights_alone(dict(state_dict=dict(a=torch.full((1, 1), 1e6))))
