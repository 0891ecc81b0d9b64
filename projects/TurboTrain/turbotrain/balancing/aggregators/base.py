"""What all aggregators have in common."""

from collections.abc import Sequence

from mmengine.registry import Registry
from torch import Tensor

__all__ = ['AGGREGATORS', 'Aggregator']

AGGREGATORS = Registry('gradient aggregator')


class Aggregator:
    """From the Gram matrix of the task gradients to the weights that they are added up with.

    All processes call it with the same numbers and have to get the same ones back: it may not draw
    from the global random state, and works on the CPU in float64. The K x K matrix is all it sees,
    so that it costs the same for a model of any size.

    Attributes:
        plain: whether the result is the sum always, so that one backward pass serves.
        elementwise: whether the rows are mixed by :meth:`mix`, not by weights.
    """

    plain = False
    elementwise = False

    def __call__(self, gram: Tensor, tasks: Sequence[int] | None = None) -> Tensor:
        """Weigh.

        Args:
            gram: (K, K) inner products of the gradients of K tasks.
            tasks: the tasks' numbers, if some of the model's tasks are missing; for methods that
                remember what they saw.

        Returns:
            (K,) weights.
        """
        raise NotImplementedError

    def mix(self, rows: Tensor) -> Tensor:
        """(K, P) some columns of the task gradients to (P,); after ``__call__``."""
        raise NotImplementedError

    def state_dict(self) -> dict:
        """Tensors and numbers that the next results depend on."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Go on from where :meth:`state_dict` was called."""
