"""mmdet3d's sparse voxel encoder on any device."""

from mmdet3d.models.middle_encoders import SparseEncoder
from mmdet3d.registry import MODELS
from mmengine.runner import autocast
from spconv.pytorch import SparseConvTensor
from torch import Tensor

from .spconv_tools import choose_algorithm, dense_map

__all__ = ['PortableSparseEncoder']


@MODELS.register_module()
class PortableSparseEncoder(SparseEncoder):
    """SECOND's middle encoder, with or without a GPU, on torch up to the newest.

    mmdet3d's own needs CUDA, and with spconv 2.3.6 a torch below 2.9. Arguments, weights and their
    names are the same.
    """

    @autocast(enabled=False)
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
        choose_algorithm(self, voxel_features.device)
        sparse = SparseConvTensor(voxel_features, coors.int(), self.sparse_shape, batch_size)
        stages = [self.conv_input(sparse)]
        for stage in self.encoder_layers:
            stages.append(stage(stages[-1]))
        bev = dense_map(self.conv_out(stages[-1])).flatten(1, 2)
        return (bev, stages[1:]) if self.return_middle_feats else bev
