import math

import pytest
import torch

from projects.TurboTrain.turbotrain.models import TrajectoryHead
from projects.TurboTrain.turbotrain.models.heads.trajectory_head import _rotate
from tests.golden import load_golden

RANGE = [-16.0, -16.0, -3.0, 16.0, 16.0, 1.0]


def make_head(**kwargs) -> TrajectoryHead:
    torch.manual_seed(0)
    return TrajectoryHead(4, 3, RANGE, feat_channels=32, **kwargs)


def boxes(count: int, reach: float = 8.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    unit = torch.rand(count, 7, generator=generator)
    low = torch.tensor([-reach, -reach, -2, 3, 1, 1, -math.pi])
    high = torch.tensor([reach, reach, -1, 6, 2, 2, math.pi])
    return low + unit * (high - low)


def labels(count: int) -> torch.Tensor:
    return torch.arange(count) % 3


def trained(head: TrajectoryHead) -> TrajectoryHead:
    torch.nn.init.normal_(head.mlp[-1].weight, std=0.3)
    torch.nn.init.normal_(head.mlp[-1].bias)
    return head.eval()


def test_golden_rotation():
    case = load_golden()['v2xpnp']['rotate_2d']
    vectors, angle = torch.tensor([[case['p']]]), torch.tensor([case['angle']])
    torch.testing.assert_close(_rotate(vectors, angle)[0], torch.tensor(case['out']))


def test_untrained_it_forecasts_that_everything_stands_still():
    given = boxes(5)
    (paths,) = make_head()(torch.randn(1, 4, 32, 32), [given], [labels(5)])
    torch.testing.assert_close(paths, given[:, None, :2].expand(-1, 6, -1))


def test_turning_the_world_turns_the_forecast():
    head, given = trained(make_head()), boxes(6)
    bev = torch.randn(1, 4, 32, 32)
    (before,) = head(bev, [given], [labels(6)])
    turned = given.clone()
    turned[:, 0], turned[:, 1] = -given[:, 1], given[:, 0]
    turned[:, 6] += math.pi / 2
    # A quarter turn counter-clockwise: what lay along x lies along y.
    (after,) = head(bev.rot90(1, (3, 2)), [turned], [labels(6)])
    expected = torch.stack([-before[..., 1], before[..., 0]], dim=-1)
    torch.testing.assert_close(after, expected, atol=1e-4, rtol=1e-4)


def test_batches_and_samples_without_boxes():
    head, given = trained(make_head()), boxes(7)
    bev = torch.randn(3, 4, 32, 32)
    parts = [given[:5], given[:0], given[5:]]
    together = head(bev, parts, [labels(5), labels(0), labels(2)])
    assert [len(p) for p in together] == [5, 0, 2]
    (alone,) = head(bev[2:], [given[5:]], [labels(2)])
    torch.testing.assert_close(together[2], alone, atol=1e-5, rtol=1e-5)
    (none,) = head(bev[:1], [given[:0]], [labels(0)])
    assert none.shape == (0, 6, 2)


def test_no_object_and_no_known_future_have_a_loss_of_zero_with_a_graph():
    head = make_head()
    for count in (0, 3):
        bev = torch.randn(1, 4, 32, 32, requires_grad=True)
        losses = head.loss(
            bev, [boxes(count)], [labels(count)], [torch.zeros(count, 6, 2)],
            [torch.zeros(count, 6, dtype=torch.bool)],
        )  # fmt: skip
        assert losses['loss_trajectory'] == 0
        losses['loss_trajectory'].backward()


def test_unknown_steps_do_not_count():
    head, given = make_head(position_noise=0.0, yaw_noise=0.0, reversal_probability=0.0), boxes(4)
    future = given[:, None, :2] + torch.tensor([3.0, 4.0]) * torch.ones(6, 1)
    valid = torch.ones(4, 6, dtype=torch.bool)
    bev = torch.randn(1, 4, 32, 32)
    whole = head.loss(bev, [given], [labels(4)], [future], [valid])['loss_trajectory']
    assert whole.item() == pytest.approx(5.0, abs=1e-4)
    valid[:, 3:] = False
    future[:, 3:] = 1e6
    part = head.loss(bev, [given], [labels(4)], [future], [valid])['loss_trajectory']
    torch.testing.assert_close(part, whole)


def test_it_learns_speed_from_a_trail():
    """The map shows where each object was half a second ago; the head must go on from there."""
    head = make_head(reversal_probability=0.0)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)

    def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        box = torch.zeros(6, 7)
        box[:, 0] = torch.randint(-4, 4, (6,), generator=generator)
        box[:, 1] = torch.arange(-12.5, 12.5, 25 / 6)
        box[:, 3:6] = torch.tensor([4.0, 2.0, 1.5])
        speed = torch.randint(0, 3, (6,), generator=generator) * 2.0
        bev = torch.zeros(1, 4, 32, 32)
        bev[0, 0, (box[:, 1] + 16).long(), (box[:, 0] + 16 - speed).long()] = 5.0
        steps = speed[:, None] * torch.arange(1, 7)
        future = box[:, None, :2] + torch.stack([steps, 0 * steps], dim=-1)
        return bev, box, future

    history = []
    for _ in range(300):
        bev, box, future = batch()
        valid = torch.ones(6, 6, dtype=torch.bool)
        loss = head.loss(bev, [box], [labels(6)], [future], [valid])['loss_trajectory']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-20:]) < 0.25 * sum(history[:20])
