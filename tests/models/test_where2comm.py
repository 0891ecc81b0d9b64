"""What Where2comm's agents send, and what becomes of it."""

import pytest
import torch
from torch.nn import functional

from turbotrain.models import Where2commFusion

RANGE = [-8.0, -8.0, -3.0, 8.0, 8.0, 1.0]
C, H, W = 8, 12, 16
KINDS = torch.tensor([0, 0, 1])
ALL = torch.ones(3, dtype=torch.bool)


def make(**options) -> Where2commFusion:
    torch.manual_seed(0)
    return Where2commFusion(C, RANGE, num_heads=2, **options).eval()


def maps(count: int = 3) -> torch.Tensor:
    return torch.randn(count, C, H, W, generator=torch.Generator().manual_seed(1))


def smoothed(confidence: torch.Tensor) -> torch.Tensor:
    """(H, W) weighted by a bell of sigma 1 over 5 x 5 cells, by hand."""
    out = torch.zeros(H, W)
    total = sum(2.718281828 ** (-(a * a + b * b) / 2) for a in range(-2, 3) for b in range(-2, 3))
    for i in range(H):
        for j in range(W):
            for a in range(-2, 3):
                for b in range(-2, 3):
                    if 0 <= i + a < H and 0 <= j + b < W:
                        weight = 2.718281828 ** (-(a * a + b * b) / 2) / total
                        out[i, j] += weight * confidence[i + a, j + b]
    return out


@pytest.mark.parametrize('request_', [True, False])
@pytest.mark.parametrize('budget', [0.2, 1.0])
def test_equals_a_loop_over_cells(request_, budget):
    neck, features = make(budget=budget, threshold=0.1, request=request_), maps()
    found = neck(features, [3], KINDS, ALL)
    confidence = neck.confidence(features).sigmoid()[:, 0]
    scores = torch.stack([smoothed(c) for c in confidence])
    if request_:
        scores = scores * (1 - scores[:1])
    attention = neck.attention
    query, key = attention.query(features[:1])[0], attention.key(features)
    heard = torch.zeros(C, H, W)
    counts = [0, 0, 0]
    for i in range(H):
        for j in range(W):
            here = []
            for agent in range(3):
                better = int((scores[agent] > scores[agent, i, j]).sum())
                worth_it = scores[agent, i, j] > 0.1 and better < int(budget * H * W)
                if agent == 0 or worth_it:
                    here.append(agent)
                    counts[agent] += 1
            for part in (slice(0, 4), slice(4, 8)):
                logits = torch.stack([query[part, i, j] @ key[a, part, i, j] for a in here])
                weights = (logits / 2).softmax(0) * confidence[here, i, j]
                heard[part, i, j] = weights @ features[here][:, part, i, j]
    fused = features[0] + neck.out(heard[None])[0]
    expected = fused + neck.feed_forward(fused[None])[0]
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)
    assert neck.sent_cells.tolist() == [counts]
    assert 0 < counts[1] < H * W  # or the test would show nothing


def test_what_is_not_sent_does_not_arrive():
    neck, features = make(budget=0.3), maps()
    with torch.no_grad():
        neck.confidence.weight[:, 1:] = 0  # so that the other channels do not choose
    found = neck(features, [3], KINDS, ALL)
    sent = neck.select(neck.confidence(features).sigmoid()[None], ALL[None, :, None, None, None])
    for chosen, arrives in ((~sent, False), (sent, True)):
        changed = features.clone()
        changed[1:, 1:] += 3 * chosen[0, 1:]
        difference = (neck(changed, [3], KINDS, ALL) - found).abs().max()
        assert (difference > 1e-3) == arrives


def test_agents_keep_to_their_budget_and_to_what_they_see():
    neck, features = make(budget=0.25, threshold=0.0), 5 * maps()  # some say much, some little
    neck(features, [2, 1], KINDS, ALL)
    assert neck.sent_cells.tolist() == [[H * W, H * W // 4], [H * W, 0]]
    # Equal scores are no excuse.
    neck(torch.zeros_like(features), [3], KINDS, ALL)
    assert neck.sent_cells.tolist() == [[H * W, H * W // 4, H * W // 4]]
    away = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    away[1, 0, 3] = 8.0  # half of its map reaches into the ego's: what does not takes no budget
    neck.budget = 0.5
    neck(features, [3], KINDS, ALL, away)
    assert neck.sent_cells.tolist() == [[H * W, H * W // 2, H * W // 2]]
    neck.budget = 0.6
    neck(features, [3], KINDS, ALL, away)
    assert neck.sent_cells.tolist() == [[H * W, H * W // 2, int(0.6 * H * W)]]


def test_without_messages_the_ego_is_alone():
    features = maps()
    for silent in (make(threshold=1.0), make(budget=0.0)):
        found = silent(features, [3], KINDS, ALL)
        assert silent.sent_cells.tolist() == [[H * W, 0, 0]]
        alone = silent(features[:1], [1], KINDS[:1], ALL[:1])
        torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)


def test_the_ego_asks_for_what_it_does_not_know():
    neck = make(budget=0.5, threshold=0.0)
    confidence = torch.full((1, 2, 1, H, W), 0.5)
    confidence[0, 0, 0, :, : W // 2] = 0.9
    sent = neck.select(confidence, ALL[None, :2, None, None, None])[0, 1, 0]
    assert sent[:, W // 2 + 2 : -2].all() and not sent[:, 2 : W // 2 - 2].any()


def test_training_draws_budgets():
    neck, features = make(budget=0.0, threshold=1.0).train(), maps()

    def counts(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        neck(features, [3], KINDS, ALL)
        return neck.sent_cells

    drawn = torch.cat([counts(seed) for seed in range(50)])
    assert (drawn[:, 0] == H * W).all()
    for others in drawn[:, 1:].T / (H * W):
        assert others.min() < 0.15 and others.max() > 0.85 and 0.35 < others.mean() < 0.65
    assert torch.equal(counts(3), drawn[3:4])


def test_learns_which_cells_are_worth_sending():
    """The ego is to tell what the other knows of a few marked blocks of cells."""
    torch.manual_seed(0)
    neck = make(budget=0.2, threshold=0.0).train()
    optimizer = torch.optim.Adam(neck.parameters(), lr=1e-2)

    def draw() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = torch.randn(16, C, H, W) * 0.5
        marked = (torch.rand(8, 1, H, W) < 0.015).float()
        marked = functional.max_pool2d(marked, 3, stride=1, padding=1)[:, 0]
        features[1::2, 0] += 2 * marked
        return features, marked > 0, 3 * features[1::2, 1] * marked

    def loss(features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        fused = neck(features, [2] * 8, KINDS.new_zeros(16), ALL.new_ones(16))
        return (fused[:, 0] - target).square().mean()

    for _ in range(200):
        features, _, target = draw()
        optimizer.zero_grad()
        loss(features, target).backward()
        optimizer.step()
    neck.eval()
    features, marked, target = draw()
    confidence = neck.confidence(features).sigmoid().view(8, 2, 1, H, W)
    assert confidence[:, 1, 0][marked].mean() > 2 * confidence[:, 1, 0][~marked].mean()
    sent = neck.select(confidence, ALL.new_ones(8, 2, 1, 1, 1))[:, 1, 0]
    assert sent.float().mean() < 0.2 and sent[marked].float().mean() > 0.7
    with torch.no_grad():
        informed = loss(features, target)
        neck.budget = 0.0
        assert informed < 0.5 * loss(features, target)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(num_heads=3), 'multiple of num_heads'),
        (dict(budget=1.5), 'from 0 to 1'),
        (dict(threshold=-0.1), 'from 0 to 1'),
    ],
)
def test_impossible_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Where2commFusion(C, RANGE, **wrong)


def test_who_is_asked_for_nothing_sends_where_it_is_sure():
    neck, features = make(budget=0.1, threshold=0.0), maps(1)
    confidence = torch.full((1, 1, H, W), -4.0)
    confidence[0, 0, 4:6, 9:11] = 4.0
    neck.confidence.forward = lambda _: confidence
    sent = neck.own_cells(features)[0, 0]
    assert sent.sum() == int(0.1 * H * W) and sent[4:6, 9:11].all()
    assert not sent[:, :6].any()
