"""Mixed precision without an accelerator, or without a loss scaler."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from .optim_wrapper import ConflictSuppressingOptimWrapper

__all__ = ['BFloat16ConflictSuppressingOptimWrapper', 'BFloat16OptimWrapper']


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """mmengine's wrapper with forward passes in bfloat16, where torch's autocast allows it.

    For any device; mmengine's own ``AmpOptimWrapper`` refuses CPUs. bfloat16 has float32's range:
    no loss is scaled, no update skipped. Parameters, their gradients and the optimiser's state stay
    in float32. It pays on processors that multiply in bfloat16 (AVX512_BF16, AMX).
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Mmengine's context, under autocast."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


@OPTIM_WRAPPERS.register_module()
class BFloat16ConflictSuppressingOptimWrapper(
    BFloat16OptimWrapper, ConflictSuppressingOptimWrapper
):
    """The same with conflict suppression."""
