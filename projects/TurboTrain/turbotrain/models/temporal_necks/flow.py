"""How an agent's map changes, sent along with it."""

import torch
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from ...errors import SettingError
from ..layers.map_layers import MAP_NORM
from ..parts import build_part
from .base import BaseTemporalNeck

__all__ = ['FlowTemporalNeck']


@MODELS.register_module()
class FlowTemporalNeck(BaseTemporalNeck):
    r"""Another temporal neck's map and, behind it, the flow that brings it up to date.

    .. math:: \mathrm{flow} = g([F_0, F_{-1}]) / (t_0 - t_{-1})

    with g a stack of 3x3 convolutions, and :math:`F_{-1}`, at each cell, the newest earlier frame
    that sees it; the flow is 0 where there is none. Who receives the message late extrapolates:

    - with ``flow_channels`` = C the flow is the map's derivative by time, per second
      (:class:`FFNetFusion`);
    - with ``flow_channels`` = 2 it is the speed along x and y, in m/s, of what a cell will show
      (:class:`CoBEVFlowFusion`).

    Source: FFNet (Yu et al., NeurIPS 2023) for the derivative from two frames, and CoBEVFlow (Wei
    et al., NeurIPS 2023) for the speeds. FFNet trains its flow to predict the next frame's map, and
    CoBEVFlow follows detected boxes from frame to frame; both are learned from the tasks' losses
    here, under delays, by a network that sees some cells around (our choice).

    Args:
        channels: C.
        flow_channels: of the flow.
        point_cloud_range: see :class:`BaseTemporalNeck`.
        temporal_neck: config of the neck that fuses the frames; its ``channels``,
            ``point_cloud_range`` and ``norm_cfg`` are this neck's unless it says otherwise.
        hidden_channels: width of g.
        dilations: of g's hidden layers; with (1, 2, 4) a cell sees 8 cells to each side.
        norm_cfg: mmcv's config of the normalisation layers.
    """

    def __init__(
        self,
        channels: int,
        flow_channels: int,
        point_cloud_range: list[float],
        temporal_neck: dict,
        hidden_channels: int = 64,
        dilations: tuple[int, ...] = (1, 2, 4),
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(point_cloud_range, init_cfg)
        shared = dict(channels=channels, point_cloud_range=point_cloud_range, norm_cfg=norm_cfg)
        self.temporal_neck = build_part(temporal_neck, **shared)
        norm_cfg = norm_cfg or MAP_NORM
        widths = (2 * channels, *[hidden_channels] * len(dilations))
        self.flow = nn.Sequential(
            *(
                ConvModule(
                    width, hidden_channels, 3, padding=d, dilation=d, bias=False, norm_cfg=norm_cfg
                )
                for width, d in zip(widths, dilations, strict=False)
            ),
            nn.Conv2d(hidden_channels, flow_channels, 3, padding=1),
        )

    def fuse(self, features: Tensor, time_offsets: Tensor, seen: Tensor) -> Tensor:
        """See :meth:`BaseTemporalNeck.fuse`.

        Returns:
            (S, C + flow_channels, H, W).
        """
        frames = features.shape[1]
        if frames < 2:
            raise SettingError(f'FlowTemporalNeck needs two frames or more, got {frames}')
        earlier = seen[:, :-1]
        order = torch.arange(1, frames, device=seen.device)[:, None, None, None]
        newest = (earlier * order).argmax(dim=1, keepdim=True)
        found = earlier.any(dim=1)
        # Convolutions carry what is there into cells around: where no frame sees, nothing is there.
        before = features[:, :-1].take_along_dim(newest, dim=1)[:, 0].where(found, 0)
        when = time_offsets[:, :-1, None, None, None].take_along_dim(newest, dim=1)[:, 0]
        known = seen[:, -1] & found
        elapsed = (time_offsets[:, -1, None, None, None] - when).where(known, 1)
        flow = self.flow(torch.cat([features[:, -1], before], dim=1)) / elapsed
        flow = flow.where(known, 0)
        return torch.cat([self.temporal_neck.fuse(features, time_offsets, seen), flow], dim=1)
