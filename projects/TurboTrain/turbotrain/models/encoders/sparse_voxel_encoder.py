"""mmdet3d's sparse voxel encoder on any device."""

from typing import Any

from mmdet3d.models.middle_encoders import SparseEncoder
from mmdet3d.registry import MODELS
from spconv.pytorch import SparseConvTensor
from torch import Tensor

from .spconv_tools import allow_single_rows, dense_map, sparse_input

__all__ = ['PortableSparseEncoder']


@MODELS.register_module()
class PortableSparseEncoder(SparseEncoder):
    """SECOND's middle encoder, with or without a GPU, on torch up to the newest.

    mmdet3d's own needs CUDA, and with spconv 2.3.6 a torch below 2.9. Arguments, weights and their
    names are the same.

    Args:
        args: of mmdet3d's encoder.
        kwargs: of mmdet3d's encoder.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        allow_single_rows(self)

    def forward(
        self, voxel_features: Tensor, coors: Tensor, batch_size: int
    ) -> Tensor | tuple[Tensor, list[SparseConvTensor]]:
        """Encode.

        Args:
            voxel_features: (V, C) of the occupied voxels.
            coors: (V, 4) their sample, z, y and x.
            batch_size: B.

        Returns:
            (B, C * D, H, W); H runs along y, W along x. With ``return_middle_feats`` also the
            sparse tensor of each stage, which two-stage detectors read.
        """
        with sparse_input(
            self, voxel_features, coors.int(), self.sparse_shape, batch_size
        ) as sparse:
            stages = [self.conv_input(sparse)]
            for stage in self.encoder_layers:
                stages.append(stage(stages[-1]))
            bev = dense_map(self.conv_out(stages[-1])).flatten(1, 2)
        return (bev, stages[1:]) if self.return_middle_feats else bev
