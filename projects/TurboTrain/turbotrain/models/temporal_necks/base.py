"""What every temporal neck takes and gives."""

from abc import ABCMeta, abstractmethod

from mmengine.model import BaseModule
from torch import Tensor

from ..warping import warp_bev

__all__ = ['BaseTemporalNeck']


class BaseTemporalNeck(BaseModule, metaclass=ABCMeta):
    """Fuses the frames of each agent: (S, T, C, H, W) to (S, C, H, W).

    A neck may add channels behind the C of the map; :class:`FlowTemporalNeck` does.

    Args:
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]`` (m) of the feature maps.
    """

    def __init__(self, point_cloud_range: list[float], init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.point_cloud_range = point_cloud_range

    def forward(
        self,
        features: Tensor,
        time_offsets: Tensor,
        valid: Tensor,
        current_from_frame: Tensor | None = None,
    ) -> Tensor:
        """Align the past frames with the current one, then fuse.

        Args:
            features: (S, T, C, H, W), oldest frame first; S agents of all samples of the batch.
            time_offsets: (S, T) seconds, 0 for the current frame, negative for the past.
            valid: (S, T) bool, whether there was a cloud.
            current_from_frame: (S, T, 4, 4) ego-motion; None when all frames lie in one frame.

        Returns:
            (S, C, H, W) in the frame of the current feature map.
        """
        seen = valid[:, :, None, None, None]
        if current_from_frame is not None:
            warped, inside = warp_bev(
                features.flatten(0, 1), current_from_frame.flatten(0, 1), self.point_cloud_range
            )
            features = warped.view_as(features)
            seen = seen & inside.view(*valid.shape, *inside.shape[1:])
        return self.fuse(features, time_offsets, seen)

    @abstractmethod
    def fuse(self, features: Tensor, time_offsets: Tensor, seen: Tensor) -> Tensor:
        """Fuse aligned frames.

        Args:
            features: (S, T, C, H, W).
            time_offsets: (S, T) seconds.
            seen: bool, broadcastable to (S, T, 1, H, W): which cells a frame says anything of.
        """
