"""What spconv needs to be told, on CPUs and with today's torch."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from spconv.core import ConvAlgo
from spconv.pytorch import SparseConvTensor
from spconv.pytorch.conv import SparseConvolution
from torch import Tensor, nn
from torch.nn import functional

__all__ = ['allow_single_rows', 'dense_map', 'sparse_input']


class _RowNorm(nn.BatchNorm1d):
    """Takes a single row, which has no variance, by the running statistics in training, too."""

    def forward(self, rows: Tensor) -> Tensor:
        """(V, C) to (V, C)."""
        if len(rows) == 1:
            mean, variance = self.running_mean, self.running_var
            return functional.batch_norm(rows, mean, variance, self.weight, self.bias, eps=self.eps)
        return super().forward(rows)


def allow_single_rows(module: nn.Module) -> None:
    """Have batch norms in a module take the one place that may be all that is occupied.

    Norms that synchronise are left alone: they count the rows of other processes, too, and wait for
    them.
    """
    for norm in module.modules():
        if type(norm) is nn.BatchNorm1d:
            norm.__class__ = _RowNorm


@contextmanager
def sparse_input(
    module: nn.Module, features: Tensor, indices: Tensor, shape: Sequence[int], batch_size: int
) -> Iterator[SparseConvTensor]:
    """What the sparse convolutions in a module take, with autocast turned off.

    They compute in the type of their weights: on CPUs spconv knows no half precision.

    Args:
        module: all of the convolutions.
        features: (V, C) of the occupied places, of any type.
        indices: (V, 1 + D) int32, their sample, and where in it.
        shape: D cells.
        batch_size: number of samples.
    """
    _choose_algorithm(module, features.device)
    features = features.to(next(module.parameters()).dtype)
    with torch.autocast(features.device.type, enabled=False):
        yield SparseConvTensor(features, indices, [*shape], batch_size)


def _choose_algorithm(module: nn.Module, device: torch.device) -> None:
    """Have the sparse convolutions in a module use an algorithm that runs on a device.

    spconv's own choice for kernels of up to 32 places calls CUDA. All algorithms share one layout
    of the weights, so that checkpoints fit on either side.
    """
    for convolution in module.modules():
        if isinstance(convolution, SparseConvolution):
            native = device.type == 'cpu' or math.prod(convolution.kernel_size) > 32
            convolution.algo = ConvAlgo.Native if native else ConvAlgo.MaskImplicitGemm


def dense_map(sparse: SparseConvTensor) -> Tensor:
    """(K, C, *spatial) of a sparse tensor, 0 where it is empty.

    spconv's own ``dense`` indexes by a list of tensors, which torch from 2.9 on reads otherwise.
    """
    shape = [sparse.batch_size, *sparse.spatial_shape]
    index = sparse.indices.long()
    place = index[:, 0]
    for axis, size in enumerate(shape[1:], start=1):
        place = place * size + index[:, axis]
    maps = sparse.features.new_zeros(torch.Size(shape).numel(), sparse.features.shape[1])
    maps = maps.index_copy(0, place, sparse.features).view(*shape, -1)
    return maps.movedim(-1, 1)
