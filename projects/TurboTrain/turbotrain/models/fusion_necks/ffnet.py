"""FFNet: messages that say how fast their features change."""

import torch
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor

from ..layers.map_layers import MAP_NORM
from .base import BaseFusionNeck

__all__ = ['FFNetFusion']


@MODELS.register_module()
class FFNetFusion(BaseFusionNeck):
    r"""FFNet's feature flow: late features are extrapolated to now, joined and convolved.

    .. math:: F_j(t) = F_j(t - \tau_j) + \tau_j\, \dot F_j(t - \tau_j); \quad
              F = \mathrm{conv}([F_0, \max_{j > 0} F_j])

    Takes maps whose second half of channels is the derivative, as :class:`FlowTemporalNeck` with
    ``flow_channels`` = C gives them.

    Source: FFNet (Yu et al., NeurIPS 2023), for one vehicle and one roadside unit; the maximum over
    several others is our choice.

    Args:
        channels: C.
        point_cloud_range: see :class:`BaseFusionNeck`.
        norm_cfg: mmcv's config of the normalisation layers.
    """

    def __init__(
        self,
        channels: int,
        point_cloud_range: list[float],
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(point_cloud_range, init_cfg)
        self.channels = self.flow_channels = channels
        norm_cfg = norm_cfg or MAP_NORM
        self.join = ConvModule(2 * channels, channels, 3, padding=1, bias=False, norm_cfg=norm_cfg)

    def compensate(self, features: Tensor, seen: Tensor, delays: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`BaseFusionNeck.compensate`."""
        maps, change = self.split_flow(features, self.channels)
        return maps + delays[:, None, None, None] * change, seen

    def fuse(self, features: Tensor, kinds: Tensor, seen: Tensor, delays: Tensor) -> Tensor:
        """See :meth:`BaseFusionNeck.fuse`."""
        others = seen.clone()
        others[:, 0] = False
        highest = features.masked_fill(~others, -torch.inf).amax(dim=1)
        heard = highest.masked_fill(~others.any(dim=1), 0.0)
        return self.join(torch.cat([features[:, 0], heard], dim=1))
