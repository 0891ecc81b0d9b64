"""From a model's dictionary of losses to one loss per task."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from ..errors import SettingError

__all__ = ['refuse_other_totals', 'task_losses', 'task_patterns']


def task_patterns(tasks: Mapping[str, str | Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Task -> names of its losses, of which a config may give one without a list around it."""
    # A string is a sequence too: of letters, of which ``*`` would match every loss.
    return {task: (p,) if isinstance(p, str) else tuple(p) for task, p in tasks.items()}


def task_losses(
    losses: Mapping[str, Tensor | list[Tensor]], tasks: Mapping[str, str | Sequence[str]]
) -> dict[str, Tensor]:
    """Sum a model's losses by task, as mmengine's ``parse_losses`` sums them all.

    Args:
        losses: what the model's ``loss`` returns. Entries without ``loss`` in their name are for
            the log only, as in mmengine.
        tasks: task name -> names of its losses; ``*`` and ``?`` match as in file names.

    Returns:
        Task name -> scalar; tasks of which no loss is there are left out. An empty list is none.

    Raises:
        SettingError: a loss belongs to no task or to more than one.
        TypeError: a loss is no tensor and no list of them.
    """
    tasks = task_patterns(tasks)
    sums: dict[str, Tensor] = {}
    for name, value in losses.items():
        if 'loss' not in name:
            continue
        owners = [t for t, patterns in tasks.items() if any(fnmatchcase(name, p) for p in patterns)]
        if len(owners) != 1:
            belongs = f'to more than one task ({", ".join(owners)})' if owners else 'to no task'
            listed = '; '.join(f'{task}: {", ".join(p)}' for task, p in tasks.items())
            raise SettingError(
                f'loss {name!r} belongs {belongs}. The optim_wrapper has tasks {listed}'
            )
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, Tensor) for part in parts):
            raise TypeError(f'{name} is not a tensor or list of tensors')  # as mmengine says it
        means = [part.mean() for part in parts]
        if means:
            scalar = sum(means[1:], means[0])
            sums[owners[0]] = sums[owners[0]] + scalar if owners[0] in sums else scalar
    return {task: sums[task] for task in tasks if task in sums}


def refuse_other_totals(losses: Mapping[str, Tensor], total: Tensor) -> None:
    """Stop where a model does not train on the sum of its losses.

    Args:
        losses: task -> loss.
        total: what the model made of them.

    Raises:
        RuntimeError: it is not their sum.
    """
    added = sum(losses.values(), torch.zeros_like(total)).detach().double()
    size = sum((loss.detach().abs() for loss in losses.values()), torch.zeros_like(total))
    half = any(value.element_size() < 4 for value in (total, *losses.values()))
    # The sum of few numbers, in another order.
    rounding = (1e-2 if half else 1e-4) * size.detach().double()
    wrong = (added - total.detach().double()).abs() > rounding
    if wrong:  # nothing can be told of infinite and NaN ones, which are not
        raise RuntimeError(
            f"the tasks' losses add up to {float(added):.6g}, but the model's parse_losses made "
            f'{float(total):.6g} of them: weigh losses before the model returns them, or with a '
            'balancer'
        )
