"""The sum of the task gradients."""

from collections.abc import Sequence

from torch import Tensor

from .base import AGGREGATORS, Aggregator

__all__ = ['PlainSum']


@AGGREGATORS.register_module()
class PlainSum(Aggregator):
    """The gradient of the summed losses, as in plain training.

    One backward pass of the sum serves, so that all steps are free ones, bit for bit.

    Args:
        measure: take one gradient per task all the same, to see the conflicts of plain training.
            The sum is then equal up to rounding.
    """

    def __init__(self, measure: bool = False) -> None:
        self.plain = not measure

    def __call__(self, gram: Tensor, tasks: Sequence[int] | None = None) -> Tensor:
        """(K, K) inner products of the task gradients to K ones."""
        return gram.new_ones(len(gram))
