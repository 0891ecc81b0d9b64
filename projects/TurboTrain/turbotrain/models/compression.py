"""What an agent sends in place of its feature map."""

import torch
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor

from ..errors import SettingError
from .layers.map_layers import MAP_NORM

__all__ = ['FeatureCompression', 'PrincipalCompression']

_LEVELS = 255
_SCALE_BYTES = 8  # lowest value and step of a quantised map, float32


@MODELS.register_module()
class FeatureCompression(BaseModule):
    """Send fewer channels, and fewer bits of each.

    A convolution to ``channels / ratio`` channels before sending and one back behind it, trained
    with the rest. With 8 bits, a sent map is rounded to 256 levels between its lowest and highest
    value; gradients pass the rounding unchanged (straight-through).

    Source: the channel autoencoder is common to OpenCOOD's models; kernel sizes and the
    quantisation are our choice.

    Args:
        channels: C.
        ratio: by how much fewer channels are sent; 1 sends the map as it is.
        bits: of each value, 32 or 8.
        norm_cfg: mmcv's config of the normalisation layers.
    """

    def __init__(
        self,
        channels: int,
        ratio: int = 1,
        bits: int = 32,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if ratio < 1 or channels % ratio:
            raise SettingError(f'ratio must divide the {channels} channels, got {ratio}')
        if bits not in (8, 32):
            raise SettingError(f'bits must be 8 or 32, got {bits}')
        self.sent_channels, self.bits = channels // ratio, bits
        norm_cfg = norm_cfg or MAP_NORM
        sizes = ((channels, self.sent_channels, 1), (self.sent_channels, channels, 3))
        self.encoder, self.decoder = (
            ConvModule(c_in, c_out, k, padding=k // 2, bias=False, norm_cfg=norm_cfg)
            if ratio > 1
            else torch.nn.Identity()
            for c_in, c_out, k in sizes
        )

    def message_bytes(self, cells: int, channels: int) -> int:
        """Size of a message of so many cells of a map with C channels."""
        values = self.sent_channels * cells
        return 4 * values if self.bits == 32 else values + _SCALE_BYTES

    def forward(self, features: Tensor) -> Tensor:
        """What arrives: (S, C, H, W) to the same shape."""
        sent = self.encoder(features)
        return self.decoder(sent if self.bits == 32 else _round(sent))


@MODELS.register_module()
class PrincipalCompression(BaseModule):
    """Send the principal channels of each map: compression for a network that was trained without.

    Every map is projected to the channels in which its cells differ most (Karhunen and Loeve),
    which are sent with it; no linear compression to as many channels loses less. It has no
    parameters, so that any checkpoint can be tested with it. Ours.

    Args:
        ratio: by how much fewer channels are sent; 1 sends all of them.
        bits: of each value, 32 or 8 (see :class:`FeatureCompression`).
    """

    def __init__(self, ratio: int = 1, bits: int = 32, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if ratio < 1:
            raise SettingError(f'ratio must be at least 1, got {ratio}')
        if bits not in (8, 32):
            raise SettingError(f'bits must be 8 or 32, got {bits}')
        self.ratio, self.bits = ratio, bits

    def message_bytes(self, cells: int, channels: int) -> int:
        """Size of a message of so many cells of a map, with the channels and their mean."""
        sent = self._sent(channels)
        values = sent * cells
        size = 4 * values if self.bits == 32 else values + _SCALE_BYTES
        return size + 4 * channels * (sent + 1)

    def forward(self, features: Tensor) -> Tensor:
        """What arrives: (S, C, H, W) to the same shape."""
        # Eigenvectors of half-precision sums would be noise.
        with torch.autocast(features.device.type, enabled=False):
            cells = features.float().flatten(2)
            mean = cells.mean(dim=2, keepdim=True)
            centred = cells - mean
            _, vectors = torch.linalg.eigh(centred @ centred.transpose(1, 2))
            basis = vectors[..., -self._sent(features.shape[1]) :]
            sent = (basis.transpose(1, 2) @ centred).unflatten(2, features.shape[2:])
            sent = sent if self.bits == 32 else _round(sent)
            arrived = basis @ sent.flatten(2) + mean
        return arrived.view_as(features).to(features.dtype)

    def _sent(self, channels: int) -> int:
        return max(1, channels // self.ratio)


def _round(maps: Tensor) -> Tensor:
    low, high = maps.detach().aminmax(dim=1, keepdim=True)
    low, high = low.amin(dim=(2, 3), keepdim=True), high.amax(dim=(2, 3), keepdim=True)
    step = ((high - low) / _LEVELS).clamp(min=torch.finfo(maps.dtype).tiny)
    rounded = ((maps.detach() - low) / step).round() * step + low
    return maps + (rounded - maps.detach())
