"""Message passing between agents, as on a graph."""

from mmdet3d.registry import MODELS
from torch import Tensor, nn

from ...errors import SettingError
from ..layers.conv_gru import ConvGRUCell
from .base import BaseFusionNeck

__all__ = ['V2VNetFusion']


@MODELS.register_module()
class V2VNetFusion(BaseFusionNeck):
    r"""V2VNet's graph network: rounds in which every agent hears all and updates its map.

    .. math:: a_i = \operatorname{mean}_j W * [x_j, x_i]; \quad
              x_i \leftarrow \mathrm{ConvGRU}(a_i, x_i)

    over the agents j that see a cell; after the last round a linear layer gives the ego's map. The
    convolution is linear, so that the mean is taken over N maps instead of N x N messages: the
    result is the same. Agents exchange maps that lie in the ego's frame (our choice: V2VNet warps
    each into each receiver's).

    Source: V2VNet (Wang et al., ECCV 2020).

    Args:
        channels: C.
        point_cloud_range: see :class:`BaseFusionNeck`.
        num_rounds: of messages; 3 is V2VNet's.
    """

    def __init__(
        self,
        channels: int,
        point_cloud_range: list[float],
        num_rounds: int = 3,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(point_cloud_range, init_cfg)
        if num_rounds < 1:
            raise SettingError(f'num_rounds must be at least 1, got {num_rounds}')
        self.num_rounds = num_rounds
        self.from_sender = nn.Conv2d(channels, channels, 3, padding=1)
        self.from_receiver = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.update = ConvGRUCell(channels, channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def fuse(self, features: Tensor, kinds: Tensor, seen: Tensor, delays: Tensor) -> Tensor:
        """See :meth:`BaseFusionNeck.fuse`."""
        b, n = features.shape[:2]
        share = seen.to(features.dtype) / seen.sum(dim=1, keepdim=True).clamp(min=1)
        anyone = seen.any(dim=1, keepdim=True)
        states = features * seen
        for turn in range(self.num_rounds):
            receivers = n if turn + 1 < self.num_rounds else 1  # only the ego's last map counts
            own = states[:, :receivers].flatten(0, 1)
            if share.shape[-1] == 1:  # maps that all cover the same cells: the mean goes first
                heard = self.from_sender((states * share).sum(dim=1))[:, None]
            else:
                sent = self.from_sender(states.flatten(0, 1)).view_as(states)
                heard = (sent * share).sum(dim=1, keepdim=True)
            asked = self.from_receiver(own).view(b, receivers, *own.shape[1:])
            messages = ((heard + asked) * anyone).flatten(0, 1)
            states = self.update(messages, own).view(b, receivers, *own.shape[1:])
        return self.out(states[:, 0])
