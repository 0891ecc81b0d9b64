"""The vector map: polylines encoded once for a sample, attended to from wherever one stands."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from ..errors import SettingError
from .box_motion import to_axes
from .layers.masked_softmax import masked_softmax
from .warping import cell_centres

__all__ = ['VectorMapAttention', 'VectorMapNeck', 'VectorMaps', 'nearest_polylines', 'stack_maps']

_TYPES = 6  # of lines, see structures/vector_map.py
_METRES = 10.0  # that count as 1 in the network


class VectorMaps(NamedTuple):
    """The maps of a batch, padded with polylines of no points.

    Attributes:
        polylines: (B, L, P, 7) ``[x, y, z, dx, dy, dz, type]``, metres, each in its sample's frame.
        mask: (B, L, P) bool, which points there are.
    """

    polylines: Tensor
    mask: Tensor

    def moved(self, target_from_source: Tensor) -> 'VectorMaps':
        """The same lines seen from other frames (B, 4, 4); heights stay."""
        rotation = target_from_source[:, None, None, :2, :2].to(self.polylines)
        shift = target_from_source[:, None, None, :2, 3].to(self.polylines)
        lines = self.polylines.clone()
        # No matrix product: autocast would round metres to centimetres.
        lines[..., :2] = (rotation * lines[..., None, :2]).sum(dim=-1) + shift
        lines[..., 3:5] = (rotation * lines[..., None, 3:5]).sum(dim=-1)
        return VectorMaps(lines, self.mask)


def stack_maps(samples: Sequence[Det3DDataSample], device: torch.device) -> VectorMaps:
    """The maps of some samples in one tensor.

    Args:
        samples: their metainfo has ``vector_map`` (L, P, 7) and ``vector_map_mask`` (L, P), as
            ``LoadVectorMap`` gives them; L is 0 where there is no map.
        device: of the result.

    Raises:
        SettingError: a sample's metainfo has no ``vector_map``.
    """
    for sample in samples:
        if 'vector_map' not in sample:
            raise SettingError(
                f"sample {sample.get('sample_idx')}: its metainfo has no 'vector_map', which the "
                "model attends to; put dict(type='LoadVectorMap') into the pipeline, behind "
                'LoadCooperativePoints'
            )
    lines = max(len(sample.vector_map) for sample in samples)
    shape = (len(samples), lines, *samples[0].vector_map.shape[1:])
    polylines, mask = np.zeros(shape, np.float32), np.zeros(shape[:-1], bool)
    for row, sample in enumerate(samples):
        polylines[row, : len(sample.vector_map)] = sample.vector_map
        mask[row, : len(sample.vector_map)] = sample.vector_map_mask
    return VectorMaps(torch.from_numpy(polylines).to(device), torch.from_numpy(mask).to(device))


def nearest_polylines(
    means: Tensor, there: Tensor, positions: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """The polylines nearest to some positions, by the mean of their points as in V2XPnP.

    Args:
        means: (B, L, 2) metres; L is at least ``count``.
        there: (B, L) bool, which polylines there are.
        positions: (B, Q, 2) metres.
        count: how many are wanted.

    Returns:
        index: (B, Q, count) int64, nearest first.
        found: (B, Q, count) bool; the others have no meaning.
    """
    # By differences: matrix products would lose centimetres far from the origin.
    distance = torch.cdist(positions, means, compute_mode='donot_use_mm_for_euclid_dist')
    nearest = distance.masked_fill(~there[:, None], torch.inf).topk(count, dim=2, largest=False)
    return nearest.indices, nearest.values.isfinite()


@MODELS.register_module()
class VectorMapAttention(BaseModule):
    r"""Attention from places in a sample to the polylines nearest to each.

    A polyline is encoded as VectorNet encodes it, in its own frame (its mean, its mean direction),
    once for all who ask; where it lies as seen from the one who asks is added to it:

    .. math:: q' = q + W_o \sum_{l \in N(q)} \mathrm{softmax}_l(W_q q \cdot k_l / \sqrt{d})\, v_l,
              \qquad (k_l, v_l) = W_{kv}\,(e_l + \phi(R_q^{-1}(\mu_l - x_q),\ R_q^{-1} h_l))

    with e the polyline's encoding, :math:`\mu` its mean and h its direction. Moving the world
    changes nothing, and without any polyline q stays as it is.

    Source: V2XPnP (Zhou et al., ICCV 2025) attends to the five nearest polylines; VectorNet (Gao et
    al., CVPR 2020) for their encoding. Widths, and the relative pose in place of coordinates that
    are encoded anew for each who asks, are our choice.

    Args:
        channels: C of the queries.
        num_polylines: nearest polylines that are looked at; five in V2XPnP.
        embed_channels: width of the polylines' encodings and of the attention.
        num_heads: of the attention; has to divide the channels.
    """

    def __init__(
        self,
        channels: int,
        num_polylines: int = 5,
        embed_channels: int = 64,
        num_heads: int = 4,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if embed_channels % num_heads:
            raise SettingError(
                f'embed_channels ({embed_channels}) must be a multiple of num_heads ({num_heads})'
            )
        self.num_polylines, self.num_heads = num_polylines, num_heads
        self.point_layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, embed_channels), nn.ReLU(inplace=True))
            for width in (4 + _TYPES, 2 * embed_channels)
        )
        self.pose = nn.Sequential(
            nn.Linear(4, embed_channels),
            nn.ReLU(inplace=True),
            nn.Linear(embed_channels, embed_channels),
        )
        self.query = nn.Linear(channels, embed_channels)
        self.key_value = nn.Linear(embed_channels, 2 * embed_channels)
        # Without bias: who finds no polyline gets nothing.
        self.out = nn.Linear(embed_channels, channels, bias=False)

    def forward(
        self, queries: Tensor, positions: Tensor, headings: Tensor, maps: VectorMaps
    ) -> Tensor:
        """Attend.

        Args:
            queries: (B, Q, C).
            positions: (B, Q, 2) of those who ask, metres, in the frame of their sample's map.
            headings: (B, Q) rad.
            maps: of the B samples.

        Returns:
            (B, Q, C).
        """
        missing = max(self.num_polylines - maps.mask.shape[1], 0)
        polylines = functional.pad(maps.polylines, (0, 0, 0, 0, 0, missing))
        mask = functional.pad(maps.mask, (0, 0, 0, missing))
        codes, means, directions = self._encode(polylines, mask)
        index, found = nearest_polylines(means, mask.any(dim=2), positions, self.num_polylines)
        rows = torch.arange(len(queries), device=index.device)[:, None, None]
        turn = torch.stack([headings.cos(), headings.sin()], dim=-1)[:, :, None]
        offset = to_axes(turn, means[rows, index] - positions[:, :, None]) / _METRES
        pose = torch.cat([offset, to_axes(turn, directions[rows, index])], dim=-1)
        tokens = codes[rows, index] + self.pose(pose)

        query = self.query(queries).unflatten(-1, (self.num_heads, -1))
        key, value = self.key_value(tokens).unflatten(-1, (2, self.num_heads, -1)).unbind(3)
        logits = (query[:, :, None] * key).sum(dim=-1) / key.shape[-1] ** 0.5
        weights = masked_softmax(logits, found[..., None], dim=2).to(value.dtype)
        return queries + self.out((weights[..., None] * value).sum(dim=2).flatten(2))

    def _encode(self, polylines: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encodings (B, L, E), means and unit directions (B, L, 2) of all polylines."""
        there = mask[..., None]
        polylines = polylines.where(there, 0)
        points, steps = polylines[..., :2], polylines[..., 3:5]
        means = points.sum(dim=2) / there.sum(dim=2).clamp(min=1)
        directions = functional.normalize(steps.sum(dim=2), dim=-1)
        own = directions[:, :, None]
        kind = functional.one_hot(polylines[..., 6].long().clamp(0, _TYPES - 1), _TYPES)
        inputs = [to_axes(own, points - means[:, :, None]) / _METRES, to_axes(own, steps)]
        inner, outer = self.point_layers
        # Both layers end in ReLU: 0 is the least that a point can say.
        features = inner(torch.cat([*inputs, kind.to(points.dtype)], dim=-1)) * there
        pooled = features.amax(dim=2, keepdim=True).expand_as(features)
        codes = (outer(torch.cat([features, pooled], dim=-1)) * there).amax(dim=2)
        return codes, means, directions


@MODELS.register_module()
class VectorMapNeck(BaseModule):
    """V2XPnP's map features: every cell of the fused map attends to its nearest polylines.

    Source: V2XPnP (Zhou et al., ICCV 2025), as far as it is known; see :class:`VectorMapAttention`.

    Args:
        channels: C.
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]`` (m) of the map.
        num_polylines: see :class:`VectorMapAttention`, and so are the others.
        embed_channels: width of the attention.
        num_heads: of the attention; has to divide the channels.
    """

    def __init__(
        self,
        channels: int,
        point_cloud_range: list[float],
        num_polylines: int = 5,
        embed_channels: int = 64,
        num_heads: int = 4,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        limits = torch.tensor(point_cloud_range, dtype=torch.float32)
        self.register_buffer('limits', limits, persistent=False)
        self.attention = VectorMapAttention(channels, num_polylines, embed_channels, num_heads)

    def forward(self, bev: Tensor, maps: VectorMaps) -> Tensor:
        """Attend from each cell.

        Args:
            bev: (B, C, H, W); H runs along y, W along x.
            maps: of the B samples, in the map's frame.

        Returns:
            (B, C, H, W).
        """
        positions = cell_centres(self.limits, *bev.shape[2:]).expand(len(bev), -1, -1)
        headings = positions.new_zeros(positions.shape[:2])
        queries = bev.flatten(2).transpose(1, 2)
        return self.attention(queries, positions, headings, maps).transpose(1, 2).reshape(bev.shape)
