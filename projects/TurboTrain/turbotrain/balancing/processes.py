"""What the processes of a distributed run tell each other."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

__all__ = [
    'average',
    'average_gradients',
    'cut_like',
    'gradient_dtype',
    'num_processes',
    'refuse_partial_tasks',
    'refuse_sharded',
    'synchronises_norms',
]


def num_processes() -> int:
    """1 without torch.distributed."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return 1


def average(tensor: Tensor) -> Tensor:
    """Average a tensor over all processes, in place."""
    if num_processes() > 1:
        torch.distributed.all_reduce(tensor)
        tensor /= num_processes()
    return tensor


def gradient_dtype(parameters: Iterable[nn.Parameter]) -> torch.dtype:
    """In which all their gradients can be exchanged, at least float32."""
    return reduce(torch.promote_types, (p.dtype for p in parameters), torch.float32)


def cut_like(flat: Tensor, parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Cut a vector into views of the parameters' shapes and memory formats, as gradients have."""
    parameters = list(parameters)
    parts = flat.split([p.numel() for p in parameters])
    return [
        # A parameter that is itself part of a larger tensor has other strides than its gradient.
        part.as_strided(p.shape, torch.empty_like(p, device='meta').stride())
        for part, p in zip(parts, parameters, strict=True)
    ]


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average ``.grad`` over all processes in one message.

    A parameter without a gradient here counts as 0; where no process has one it stays without.
    Unlike DistributedDataParallel this needs no ``find_unused_parameters``.
    """
    length = sum(p.numel() for p in parameters)
    message = torch.zeros(
        length + len(parameters), dtype=gradient_dtype(parameters), device=parameters[0].device
    )
    views, flags = cut_like(message[:length], parameters), message[length:]
    flags.copy_(torch.tensor([p.grad is not None for p in parameters]))
    for view, parameter in zip(views, parameters, strict=True):
        if parameter.grad is not None:
            view.copy_(parameter.grad)
    average(message)
    for parameter, view, used in zip(parameters, views, (flags > 0).tolist(), strict=True):
        if used:
            parameter.grad = view.to(parameter.dtype)


def refuse_sharded(model: nn.Module) -> None:
    """Stop where no process has whole gradients.

    Raises:
        NotImplementedError: the model, or a part of it, is sharded (FSDP).
    """
    for module in model.modules():
        names = {kind.__name__ for kind in type(module).__mro__}
        if names & {'FullyShardedDataParallel', 'FSDPModule'}:
            raise NotImplementedError(
                f'{type(module).__name__}: with FSDP no process has a whole gradient, so that task '
                'gradients cannot be compared. Use MMDistributedDataParallel, or the stock '
                'OptimWrapper'
            )


def synchronises_norms(model: nn.Module) -> bool:
    """Whether a normalisation layer of the model talks to other processes in its backward pass."""
    kinds = {kind.__name__ for module in model.modules() for kind in type(module).__mro__}
    return any('SyncBatchNorm' in kind for kind in kinds)


def refuse_partial_tasks(losses: Mapping[str, Tensor | None], device: torch.device) -> None:
    """Stop where synchronised normalisation would wait for a process that has no such loss.

    It talks in the backward pass, which all processes have to walk alike.

    Args:
        losses: all tasks' losses.
        device: where processes can exchange numbers.

    Raises:
        RuntimeError: a task has a loss on some processes only.
    """
    has = [loss is not None and loss.requires_grad for loss in losses.values()]
    shares = average(torch.tensor(has, dtype=torch.float32, device=device)).tolist()
    for task, share in zip(losses, shares, strict=True):
        if 0 < share < 1:
            raise RuntimeError(
                f'task {task!r} has a loss on some processes only, and the model has '
                'synchronised batch norm, which waits for all in the backward pass. Let the '
                'head return a loss of 0 that depends on its features, or use plain batch norm'
            )
