"""CoBEVFlow: what late messages show is moved to where it is by now."""

from mmdet3d.registry import MODELS
from torch import Tensor

from ..warping import warp_by_flow
from .f_cooper import FCooperFusion

__all__ = ['CoBEVFlowFusion']


@MODELS.register_module()
class CoBEVFlowFusion(FCooperFusion):
    r"""CoBEVFlow: each agent's map is warped by its BEV flow times its delay, then the maximum.

    .. math:: F_j(x, t) = F_j(x - \tau_j v_j(x), t - \tau_j); \quad F = \max_j F_j

    Takes maps with two more channels, the speeds v along x and y in the map's own frame in m/s, as
    :class:`FlowTemporalNeck` with ``flow_channels`` = 2 gives them. Cells into which something
    from outside the map would move are not known.

    Source: CoBEVFlow (Wei et al., NeurIPS 2023), which moves regions of interest by the motion of
    matched boxes. A dense flow, warping backward (so that each cell gets something), and full maps
    in place of sparse ones are our choice.

    Args:
        channels: C.
        point_cloud_range: see :class:`BaseFusionNeck`.
    """

    flow_channels = 2

    def __init__(
        self, channels: int, point_cloud_range: list[float], init_cfg: dict | None = None
    ) -> None:
        super().__init__(point_cloud_range, init_cfg)
        self.channels = channels

    def compensate(self, features: Tensor, seen: Tensor, delays: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`BaseFusionNeck.compensate`."""
        maps, speed = self.split_flow(features, self.channels)
        moved, inside = warp_by_flow(
            maps, delays[:, None, None, None] * speed, self.point_cloud_range
        )
        return moved, seen & inside
