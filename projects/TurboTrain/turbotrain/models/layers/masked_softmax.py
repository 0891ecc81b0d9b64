"""Softmax over what is there."""

from torch import Tensor

__all__ = ['masked_softmax']


def masked_softmax(logits: Tensor, seen: Tensor, dim: int) -> Tensor:
    """Weights that sum to 1 over the entries that are seen, and are 0 where none is.

    Args:
        logits: any shape.
        seen: bool, broadcastable to it.
        dim: over which to normalise.
    """
    # A finite floor, so that rows without an entry are means that are then zeroed, not NaN.
    return logits.masked_fill(~seen, -1e4).softmax(dim) * seen
