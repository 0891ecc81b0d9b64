import pytest
import torch
from torch.nn import functional

from turbotrain.models import TemporalAttentionNeck
from turbotrain.structures import pose_to_matrix

RANGE = [-8.0, -8.0, -3.0, 8.0, 8.0, 1.0]
C, H, W = 8, 16, 16


def temporal(**choices: bool) -> TemporalAttentionNeck:
    torch.manual_seed(0)
    return TemporalAttentionNeck(C, RANGE, num_heads=2, **choices).eval()


def maps(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, C, H, W, generator=torch.Generator().manual_seed(1))


def times(s: int, t: int) -> torch.Tensor:
    return torch.arange(1 - t, 1).mul(0.5).expand(s, -1)


def test_frames_that_are_missing_change_nothing():
    neck, features = temporal(), maps(3, 4)
    valid = torch.tensor([[False, True, False, True]]).expand(3, -1)
    torch.testing.assert_close(
        neck(features, times(3, 4), valid),
        neck(features[:, [1, 3]], times(3, 4)[:, [1, 3]], valid[:, [1, 3]]),
        atol=1e-5,
        rtol=1e-5,
    )


def test_frames_are_told_apart_by_their_time_and_not_by_their_place():
    neck, features, when = temporal(), maps(2, 3), times(2, 3)
    valid = torch.ones(2, 3, dtype=torch.bool)
    swapped = neck(features[:, [1, 0, 2]], when[:, [1, 0, 2]], valid)
    torch.testing.assert_close(swapped, neck(features, when, valid), atol=1e-5, rtol=1e-5)
    later = neck(features, when * 2, valid)
    assert (later - swapped).abs().max() > 1e-3


def test_ego_motion_is_compensated():
    neck = temporal()
    now = maps(1, 1)
    shifted = torch.zeros_like(now)
    shifted[..., :-2] = now[..., 2:]  # the agent has come 2 m (2 cells) forward since
    features = torch.cat([torch.roll(now, 2, -1), now], dim=1)
    motion = torch.from_numpy(pose_to_matrix([[-2, 0, 0, 0, 0, 0], [0] * 6]))[None]
    valid = torch.ones(1, 2, dtype=torch.bool)
    aligned = neck(features, times(1, 2), valid, motion)
    expected = neck(torch.cat([now, now], dim=1), times(1, 2), valid)
    inner = (..., slice(None), slice(3, 13))
    torch.testing.assert_close(aligned[inner], expected[inner], atol=1e-3, rtol=1e-3)


def test_temporal_gradients_reach_every_parameter():
    neck = temporal().train()
    neck(maps(2, 3), times(2, 3), torch.ones(2, 3, dtype=torch.bool)).square().sum().backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad.any(), name


def plain_attention(
    neck: TemporalAttentionNeck, features: torch.Tensor, when: torch.Tensor, seen: torch.Tensor
) -> torch.Tensor:
    """The docstring's equation by convolutions, for every head and frame by itself."""

    def conv(layer: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, layer.weight, layer.bias)

    dated = features
    if neck.time_embedding is not None:
        phase = 2 * torch.pi * when[..., None] / torch.tensor([1.0, 2, 4, 8])
        time = neck.time_embedding(torch.cat([phase.sin(), phase.cos()], dim=-1))
        dated = features + time[..., None, None]
    first, _, second = neck.key_value
    query = conv(neck.query, dated[:, -1]).chunk(neck.num_heads, dim=1)
    pairs = [conv(second, conv(first, frame).relu()).chunk(2, dim=1) for frame in dated.unbind(1)]
    heads = []
    for i, q in enumerate(query):
        keys, values = (
            [x.chunk(neck.num_heads, dim=1)[i] for x in kind] for kind in zip(*pairs, strict=True)
        )
        logits = torch.stack([(q * k).sum(dim=1) for k in keys]) / q.shape[1] ** 0.5
        logits[~seen.transpose(0, 1)] = -torch.inf
        weights = logits.softmax(dim=0)
        heads.append(sum(w[:, None] * v for w, v in zip(weights, values, strict=True)))
    fused = conv(neck.out, torch.cat(heads, dim=1))
    if neck.residual:
        fused = fused + features[:, -1]
    norm, widen, _, narrow = neck.feed_forward
    if neck.post_norm:
        return norm(fused + conv(narrow, conv(widen, fused).relu()))
    return fused + conv(narrow, conv(widen, norm(fused)).relu())


@pytest.mark.parametrize(
    ('layout', 'choices'),
    [
        (torch.contiguous_format, {}),
        (torch.channels_last, {}),
        (torch.channels_last, dict(residual=False)),
        (torch.channels_last, dict(timed=False)),
        (torch.channels_last, dict(post_norm=True)),
    ],
)
def test_attention_and_its_gradients_equal_the_equation(layout, choices):
    neck, when = temporal(**choices).train(), times(2, 3)
    features = maps(2, 3).flatten(0, 1).contiguous(memory_format=layout).unflatten(0, (2, 3))
    features.requires_grad_()
    seen = torch.rand(2, 3, H, W, generator=torch.Generator().manual_seed(0)) < 0.7
    seen[:, -1] = True
    found = neck.fuse(features, when, seen[:, :, None])
    expected = plain_attention(neck, features, when, seen)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    inputs = [features, *neck.parameters()]
    # By random weights: what a norm gives last has squares that hardly change.
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    gradients, wanted = (
        torch.autograd.grad((weights * output).sum(), inputs) for output in (found, expected)
    )
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want, atol=1e-3, rtol=1e-4)


def test_cells_that_no_frame_has_seen_take_no_value():
    neck, features = temporal(), maps(2, 3)
    nothing = neck.fuse(features, times(2, 3), torch.zeros(2, 3, 1, 1, 1, dtype=torch.bool))
    alone = features[:, -1] + neck.out.bias[:, None, None]
    torch.testing.assert_close(nothing, alone + neck.feed_forward(alone), atol=1e-5, rtol=1e-5)


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match='multiple of num_heads'):
        TemporalAttentionNeck(10, RANGE, num_heads=4)
