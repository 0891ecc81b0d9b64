"""What mmengine's message hub is told of conflicts."""

import math
from collections.abc import Sequence
from itertools import combinations

from mmengine.logging import MessageHub
from torch import Tensor

from .gram import cosines

__all__ = ['report_conflict']

_WINDOW = 100  # suppressing updates that the conflict rate looks back on; our choice


def report_conflict(
    hub: MessageHub,
    names: Sequence[str],
    gram: Tensor,
    weights: Tensor,
    tasks: Sequence[int],
    scale: float,
) -> float | None:
    """Send scalars to the message hub, and so to the log and TensorBoard.

    ``train/task_cosine`` is the lowest cosine between two tasks and ``train/task_conflict`` 1 if
    that is below 0; ``train/conflict_rate`` is the share of conflicts in the last 100 suppressing
    updates; updates with fewer than two tasks do not count in them. ``train/cosine/a~b``,
    ``train/task_norm/a`` and ``train/task_weight/a`` are by task; NaN where a task is missing.

    Args:
        hub: mmengine's.
        names: of all tasks.
        gram: (K, K) inner products of their gradients.
        weights: (number of tasks,) of those that take part.
        tasks: their numbers.
        scale: factor on the losses (of a loss scaler).

    Returns:
        The lowest cosine; None with fewer than two tasks.
    """
    everyone = range(len(names))
    cosine = cosines(gram)
    lowest = 1.0
    for i, j in combinations(everyone, 2):
        value = float(cosine[i, j]) if i in tasks and j in tasks else math.nan
        lowest = min(lowest, value)  # NaN is never lower
        hub.update_scalar(f'train/cosine/{names[i]}~{names[j]}', value)
    measured = len(tasks) > 1
    if measured:
        hub.update_scalar('train/task_cosine', lowest)
        hub.update_scalar('train/task_conflict', float(lowest < 0))
    if 'train/task_conflict' in hub.log_scalars:
        recent = hub.get_scalar('train/task_conflict').mean(_WINDOW)
        hub.update_scalar('train/conflict_rate', float(recent))
    norms = gram.diagonal().clamp(min=0).sqrt() / scale
    weight = dict(zip(tasks, weights.tolist(), strict=True))
    for k in everyone:
        norm = float(norms[k]) if k in weight else math.nan
        hub.update_scalar(f'train/task_norm/{names[k]}', norm)
        hub.update_scalar(f'train/task_weight/{names[k]}', weight.get(k, math.nan))
    return lowest if measured else None
