"""Recurrent fusion over time."""

from mmdet3d.registry import MODELS
from torch import Tensor, nn

from ..layers.conv_gru import ConvGRUCell
from .base import BaseTemporalNeck

__all__ = ['RecurrentTemporalNeck']


@MODELS.register_module()
class RecurrentTemporalNeck(BaseTemporalNeck):
    """A convolutional GRU from the oldest frame to the current one, added to the current map.

    Where a frame sees nothing the state stays as it was. The frames' times enter as a plane of
    seconds (our choice), so that a gap is not taken for a step.

    Source: FaF and V2VNet fuse frames by recurrent or temporal convolutions; this form is our
    choice.

    Args:
        channels: C.
        point_cloud_range: see :class:`BaseTemporalNeck`.
    """

    def __init__(
        self, channels: int, point_cloud_range: list[float], init_cfg: dict | None = None
    ) -> None:
        super().__init__(point_cloud_range, init_cfg)
        self.time = nn.Linear(1, channels)
        self.cell = ConvGRUCell(channels, channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def fuse(self, features: Tensor, time_offsets: Tensor, seen: Tensor) -> Tensor:
        """See :meth:`BaseTemporalNeck.fuse`."""
        dated = features + self.time(time_offsets[..., None])[..., None, None]
        state = features.new_zeros(features[:, 0].shape)
        for frame, there in zip(dated.unbind(1), seen.unbind(1), strict=True):
            state = self.cell(frame, state).where(there, state)
        return features[:, -1] + self.out(state)
