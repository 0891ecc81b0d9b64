"""What spconv needs to be told, on CPUs and with today's torch."""

import math

import torch
from spconv.core import ConvAlgo
from spconv.pytorch import SparseConvTensor
from spconv.pytorch.conv import SparseConvolution
from torch import Tensor, nn

__all__ = ['choose_algorithm', 'dense_map']


def choose_algorithm(module: nn.Module, device: torch.device) -> None:
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
