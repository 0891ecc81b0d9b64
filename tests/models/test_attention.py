"""Attention over agents and within windows, against loops."""

import pytest
import torch

from turbotrain.models.layers.heterogeneous_attention import HeterogeneousAttention
from turbotrain.models.layers.window_attention import (
    MultiScaleWindowAttention,
    WindowAttention,
)


@pytest.mark.parametrize('receivers', [1, 3])
def test_heterogeneous_attention_equals_a_loop(receivers):
    torch.manual_seed(0)
    heads, c, n = 2, 8, 3
    attention = HeterogeneousAttention(c, heads)
    torch.nn.init.normal_(attention.relation, std=0.5)
    x = torch.randn(1, n, c, 1, 1)
    kinds, seen = torch.tensor([[0, 1, 1]]), torch.tensor([True, True, False])
    query, key, value, out = attention.weight
    att, message = attention.relation
    expected = []
    for i in range(receivers):
        answer = []
        for h in range(heads):
            part = slice(h * c // heads, (h + 1) * c // heads)
            logits, values = [], []
            for j in range(n):
                m, k = kinds[0, i], kinds[0, j]
                edge = 2 * m + k
                q = (query[m] @ x[0, i, :, 0, 0])[part]
                logits.append(q @ att[edge, h] @ (key[k] @ x[0, j, :, 0, 0])[part])
                values.append(message[edge, h] @ (value[k] @ x[0, j, :, 0, 0])[part])
            weights = (torch.stack(logits)[seen] / (c / heads) ** 0.5).softmax(0)
            answer.append((weights[:, None] * torch.stack(values)[seen]).sum(0))
        expected.append(out[kinds[0, i]] @ torch.cat(answer))
    found = attention(x, kinds, seen.view(1, n, 1, 1, 1), receivers)[0, :, :, 0, 0]
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize(('height', 'width'), [(8, 12), (7, 10)])
def test_window_attention_equals_a_loop(height, width):
    torch.manual_seed(0)
    size, heads, d = 4, 2, 3
    attention = WindowAttention(6, size, d)
    torch.nn.init.normal_(attention.position)
    x = torch.randn(2, 6, height, width)
    query, key, value = attention.query_key_value(x).view(2, 3, heads, d, height, width).unbind(1)
    mixed = torch.zeros(2, heads, d, height, width)
    for top in range(0, height, size):
        for left in range(0, width, size):
            cells = [
                (i, j)
                for i in range(top, min(top + size, height))
                for j in range(left, min(left + size, width))
            ]
            for i, j in cells:
                offset = torch.tensor([(i - a + 3) * 7 + j - b + 3 for a, b in cells])
                keys = torch.stack([key[..., a, b] for a, b in cells], dim=2)
                values = torch.stack([value[..., a, b] for a, b in cells], dim=2)
                logits = (keys * query[..., None, :, i, j]).sum(-1) / d**0.5
                weights = (logits + attention.position[:, offset]).softmax(-1)
                mixed[..., i, j] = (weights[..., None] * values).sum(2)
    torch.testing.assert_close(attention(x), attention.out(mixed.flatten(1, 2)))


def test_scales_are_weighted_by_channel():
    torch.manual_seed(0)
    attention = MultiScaleWindowAttention(6, (2, 4), (3, 2))
    x = torch.randn(2, 6, 8, 8)
    parts = torch.stack([scale(x) for scale in attention.scales])
    means = parts.sum(dim=0).mean(dim=(2, 3))
    logits = attention.excite(attention.squeeze(means)).view(2, 2, 6)  # sample, scale, channel
    shares = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    assert shares.std(dim=2).min() > 1e-4
    expected = sum(shares[:, s, :, None, None] * parts[s] for s in range(2))
    torch.testing.assert_close(attention(x), expected)
    with pytest.raises(ValueError, match='same length'):
        MultiScaleWindowAttention(6, (2, 4), (3,))
    with pytest.raises(ValueError, match='must divide'):
        WindowAttention(6, 2, 4)
