"""Point clouds to bird's-eye-view feature maps without padded voxels."""

from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor

from .pillar_points import PillarPoints

__all__ = ['DensePillarEncoder']


@MODELS.register_module()
class DensePillarEncoder(BaseModule):
    """PointPillars' encoder with every point of a pillar and none of the padding.

    :class:`PillarPoints` gives the pillars' features. Empty pillars are 0.

    Source: PointPillars (Lang et al., CVPR 2019).

    Args:
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.
        pillar_size: ``[x, y]``, metres.
        out_channels: C.

    Raises:
        SettingError: the range is no multiple of the pillar size.
    """

    def __init__(
        self,
        point_cloud_range: list[float],
        pillar_size: list[float],
        out_channels: int = 64,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.points = PillarPoints(point_cloud_range, pillar_size, out_channels)

    def forward(self, clouds: list[Tensor]) -> Tensor:
        """Encode.

        Args:
            clouds: K tensors (P_k, 4) of x, y, z (m), intensity; P_k may be 0.

        Returns:
            (K, C, H, W); H runs along y, W along x.
        """
        width, height = self.points.grid
        features, pillar = self.points(clouds)
        canvas = features.new_zeros(len(clouds) * height * width + 1, features.shape[1])
        canvas.index_copy_(0, pillar, features)
        return canvas[:-1].view(len(clouds), height, width, -1).permute(0, 3, 1, 2)
