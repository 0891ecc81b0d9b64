"""Which step an object makes from frame to frame, by where it is found again."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ['StepMatcher']

_SPREAD = 0.7  # cells by which a true step may be off


class StepMatcher(nn.Module):
    """Scores of all steps of up to half a square, in whole cells, that an object may have made.

    A step is scored by what speaks for it, in its cell and those round it: whether the object is
    found again one step back, and two steps back two frames ago. That score does not know which
    cell it looks at but for its distance from the middle, so that a few objects teach what all
    others look like. What is hardly seen is found in many places: a prior, told by the object's
    features, takes some for each cell that a step is off the expected one.

    Args:
        cells: S, along each side of the square, an odd number.
        back: K, number of past frames that are looked at.
        channels: of the features.
        told: width of the features of each object.
    """

    def __init__(self, cells: int, back: int, channels: int, told: int) -> None:
        super().__init__()
        half = cells // 2
        offsets = torch.arange(-half, half + 1.0)
        # Who made the step d was found at -d.
        steps = -torch.stack(torch.meshgrid(offsets, offsets, indexing='xy'), dim=-1)
        distance = (steps.norm(dim=-1) / 8).log1p()
        self.register_buffer('steps', steps, persistent=False)
        self.register_buffer('distance', distance, persistent=False)
        self.back = back
        widths = (2 * back + 1, channels, channels, channels)
        layers = [nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, widths[1:], strict=False)]
        self.convs = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        self.query = nn.Linear(told, channels)
        self.prior = nn.Linear(told, 3)
        nn.init.normal_(self.prior.weight, std=0.02)
        nn.init.zeros_(self.prior.bias)

    def forward(self, found: Tensor, features: Tensor) -> Tensor:
        """Score the steps.

        Args:
            found: (M, T, F, F) :func:`~.likeness` of the frames before the current one, in their
                order, and of the current one itself, each by where the object would have been;
                T of K + 1 or more, F of K (S - 1) + 1 or more.
            features: (M, C) of the objects.

        Returns:
            (M, S, S) logits.
        """
        middle, half = found.shape[-1] // 2, self.steps.shape[0] // 2
        now, evidence = found[:, -1], [self.distance.expand(len(found), -1, -1)]
        for ago in range(1, self.back + 1):
            # As far off as the step would have taken it in this time.
            at = slice(middle - half * ago, middle + half * ago + 1, ago)
            evidence += [found[:, -1 - ago, at, at], now[:, at, at]]
        seen = self.convs(torch.stack(evidence, dim=1).to(features))
        scores = (seen * self.query(features)[..., None, None]).sum(dim=1).float()
        expected, firmness = self.prior(features).float().split([2, 1], dim=1)
        away = self.steps - half / 2 * expected[:, None, None]
        away = (away.square().sum(dim=-1) + 1).sqrt()
        return scores - functional.softplus(firmness)[..., None] * away / 4

    def best(self, scores: Tensor) -> Tensor:
        """(M, 2) cells along x and y: the mean over the best step and its neighbours."""
        share, steps = scores.flatten(1).softmax(dim=1), self.steps.flatten(0, 1)
        best = steps[share.argmax(dim=1)]
        near = (steps - best[:, None]).abs().amax(dim=-1) <= 1
        share = share * near
        # No matrix product: automatic mixed precision would round cells.
        return (share[..., None] * steps).sum(dim=1) / share.sum(dim=1, keepdim=True)

    def stands(self, scores: Tensor) -> Tensor:
        """(M,) logarithm of the probability of a step of no more than a cell."""
        near = self.steps.abs().amax(dim=-1) <= 1
        return scores[:, near].logsumexp(dim=1) - scores.flatten(1).logsumexp(dim=1)

    def loss(self, scores: Tensor, steps: Tensor) -> Tensor:
        """(M,) cross entropy with the true steps (M, 2), cells, spread a little."""
        half = self.steps.shape[0] // 2
        away = self.steps - steps.clamp(-half, half)[:, None, None]
        target = functional.softmax(-away.square().sum(dim=-1).flatten(1) / (2 * _SPREAD**2), dim=1)
        return functional.cross_entropy(scores.flatten(1), target, reduction='none')
