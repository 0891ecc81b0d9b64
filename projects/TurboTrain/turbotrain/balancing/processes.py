"""What the processes of a distributed run tell each other."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ['average', 'average_gradients', 'num_processes', 'refuse_sharded', 'synchronises_norms']


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


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average ``.grad`` over all processes in one message.

    A parameter without a gradient here counts as 0; where no process has one it stays without.
    Unlike DistributedDataParallel this needs no ``find_unused_parameters``.
    """
    sizes = [p.numel() for p in parameters]
    has = torch.tensor([p.grad is not None for p in parameters])
    dtype = torch.promote_types(torch.float32, parameters[0].dtype)
    flat = torch.zeros(sum(sizes) + len(sizes), dtype=dtype, device=parameters[0].device)
    *parts, flags = flat.split([*sizes, len(sizes)])
    views = [
        part.as_strided(p.shape, p.stride()) for part, p in zip(parts, parameters, strict=True)
    ]
    flags.copy_(has)
    for view, parameter in zip(views, parameters, strict=True):
        if parameter.grad is not None:
            view.copy_(parameter.grad)
    average(flat)
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
