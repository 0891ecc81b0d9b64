from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config

from turbotrain.errors import SettingError
from turbotrain.models import FeatureCompression, PrincipalCompression

ROOT = Path(__file__).parents[2]


def test_ratio_one_sends_the_map_as_it_is():
    maps = torch.randn(3, 8, 4, 6)
    plain = FeatureCompression(8)
    assert torch.equal(plain(maps), maps)
    assert plain.message_bytes(4 * 6, 8) == maps[0].numel() * 4
    assert not list(plain.parameters())


@pytest.mark.parametrize('ratio', [2, 8, 32])
def test_fewer_channels_are_sent_and_all_come_back(ratio):
    torch.manual_seed(0)
    compression = FeatureCompression(32, ratio)
    sent = []
    compression.encoder.register_forward_hook(lambda *args: sent.append(args[-1]))
    maps = torch.randn(2, 32, 4, 6)
    assert compression(maps).shape == maps.shape
    assert sent[0].shape == (2, 32 // ratio, 4, 6)
    assert compression.message_bytes(4 * 6, 32) == sent[0][0].numel() * 4
    assert FeatureCompression(32, ratio, bits=8).message_bytes(4 * 6, 32) == sent[0][0].numel() + 8
    compression(maps).square().mean().backward()
    assert all(p.grad.any() for p in compression.parameters())


def test_eight_bits_round_to_256_levels_and_let_gradients_pass():
    maps = (torch.randn(2, 8, 16, 16) * torch.tensor([1.0, 50.0])[:, None, None, None]).double()
    maps.requires_grad_()
    found = FeatureCompression(8, bits=8)(maps)
    for before, after in zip(maps.detach(), found.detach(), strict=True):
        span = before.max() - before.min()
        assert len(after.round(decimals=9).unique()) <= 256
        assert (after - before).abs().max() <= span / 255 / 2 * 1.001
    weights = torch.randn_like(maps)
    (found * weights).sum().backward()
    torch.testing.assert_close(maps.grad, weights)
    constant = torch.full((1, 8, 2, 2), 3.0)
    torch.testing.assert_close(FeatureCompression(8, bits=8)(constant), constant)


@pytest.mark.parametrize('wrong', [dict(ratio=3), dict(ratio=0), dict(bits=4)])
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FeatureCompression(8, **wrong)


def test_principal_channels_lose_as_little_as_any_linear_compression():
    """Against singular values: what is lost is exactly what the smallest of them hold."""
    torch.manual_seed(0)
    maps = torch.randn(2, 16, 9, 7) + torch.randn(2, 16, 1, 1) * 5
    for ratio in (1, 2, 4, 16, 99):
        found = PrincipalCompression(ratio)(maps)
        kept = max(1, 16 // ratio)
        for before, after in zip(maps.flatten(2), found.flatten(2), strict=True):
            values = torch.linalg.svdvals((before - before.mean(1, keepdim=True)).double())
            lost = (before - after).double().square().sum()
            torch.testing.assert_close(lost, values[kept:].square().sum(), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(PrincipalCompression()(maps), maps, atol=1e-4, rtol=0)


def test_principal_channels_travel_with_their_message():
    assert PrincipalCompression(4).message_bytes(63, 16) == 4 * (4 * 63 + 16 * 5)
    assert PrincipalCompression(4, bits=8).message_bytes(63, 16) == 4 * 63 + 8 + 4 * 16 * 5
    assert not PrincipalCompression(4).state_dict()
    flat = torch.full((1, 8, 2, 2), 3.0)
    torch.testing.assert_close(PrincipalCompression(8, bits=8)(flat), flat)
    for wrong in (dict(ratio=0), dict(bits=16)):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PrincipalCompression(**wrong)


def test_a_flow_is_not_squeezed_into_a_map():
    cfg = Config.fromfile(ROOT / 'configs/benchmark/mini/ffnet_mini_v2xpnp.py').model
    cfg.compression = dict(type='FeatureCompression', ratio=4)
    with pytest.raises(SettingError, match='PrincipalCompression sends both'):
        MODELS.build(cfg)
    cfg.compression = dict(type='PrincipalCompression', ratio=4)
    MODELS.build(cfg)
