"""Point clouds to bird's-eye-view feature maps by sparse convolutions."""

from collections.abc import Sequence

import torch
from mmcv.cnn import build_norm_layer
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from spconv.pytorch import (
    SparseConv2d,
    SparseConvTensor,
    SparseModule,
    SparseSequential,
    SubMConv2d,
)
from torch import Tensor, nn

from ...errors import SettingError
from .pillar_points import PillarPoints
from .spconv_tools import allow_single_rows, dense_map, sparse_input

__all__ = ['SparsePillarEncoder']


@MODELS.register_module()
class SparsePillarEncoder(BaseModule):
    """Pillars, then a backbone that works on the occupied ones alone.

    Each stage halves the resolution (the first one does not) and has ``depth`` residual blocks of
    submanifold convolutions. What it costs grows with the number of occupied pillars, not with the
    area: of masked clouds, only what is visible is paid for.

    Sources: SECOND (Yan et al., 2018) for the sparse convolutions, PillarNet (Shi et al., ECCV
    2022) for pillars in front of them; sizes are our choice.

    Args:
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.
        pillar_size: ``[x, y]``, metres.
        stage_channels: of each stage; the last is C.
        depth: residual blocks of a stage.
        norm_cfg: normalisation over the occupied pillars; a single one is normalised by the running
            statistics in training, too.

    Raises:
        SettingError: the range is no multiple of the pillar size, or the grid no multiple of the
            stride; or there are no blocks.
    """

    def __init__(
        self,
        point_cloud_range: list[float],
        pillar_size: list[float],
        stage_channels: Sequence[int] = (32, 64, 64),
        depth: int = 2,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.points = PillarPoints(point_cloud_range, pillar_size, stage_channels[0])
        if depth < 1:
            raise SettingError(f'depth must be at least 1, got {depth}')
        stride = 2 ** (len(stage_channels) - 1)
        if any(cells % stride for cells in self.points.grid):
            raise SettingError(
                f'{len(stage_channels)} stages want a grid that is a multiple of {stride}, got '
                f'{self.points.grid} pillars'
            )
        norm_cfg = norm_cfg or dict(type='BN1d', eps=1e-3, momentum=0.01)
        stages = []
        previous = stage_channels[0]
        for i, channels in enumerate(stage_channels):
            if i:
                stages.append(_layer(SparseConv2d, previous, channels, norm_cfg, stride=2))
            stages += [_ResidualBlock(channels, norm_cfg, f'stage{i}') for _ in range(depth)]
            previous = channels
        self.stages = SparseSequential(*stages)
        allow_single_rows(self.stages)

    def forward(self, clouds: list[Tensor]) -> Tensor:
        """Encode.

        Args:
            clouds: K tensors (P_k, 4) of x, y, z (m), intensity; P_k may be 0.

        Returns:
            (K, C, H / stride, W / stride); H runs along y, W along x.
        """
        width, height = self.points.grid
        features, occupied = self.points(clouds)
        inside = occupied < len(clouds) * height * width
        occupied, features = occupied[inside], features[inside]
        if not len(occupied):
            # Sparse convolutions want something to work on; a graph is wanted all the same.
            stride = 2 ** sum(isinstance(m, SparseConv2d) for m in self.stages.modules())
            shape = (len(clouds), self._channels, height // stride, width // stride)
            return features.new_zeros(shape) + 0 * sum(p.sum() for p in self.parameters())
        place = [occupied // (height * width), occupied // width % height, occupied % width]
        indices = torch.stack(place, dim=1).int()
        with sparse_input(self.stages, features, indices, [height, width], len(clouds)) as sparse:
            return dense_map(self.stages(sparse))

    @property
    def _channels(self) -> int:
        return self.stages[-1].channels


class _ResidualBlock(SparseModule):
    """Two submanifold convolutions and what came in."""

    def __init__(self, channels: int, norm_cfg: dict, key: str) -> None:
        super().__init__()
        self.channels = channels
        self.layers = SparseSequential(
            *_layer(SubMConv2d, channels, channels, norm_cfg, indice_key=key),
            SubMConv2d(channels, channels, 3, padding=1, bias=False, indice_key=key),
            build_norm_layer(norm_cfg, channels)[1],
        )

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        """The occupied places stay the same."""
        out = self.layers(x)
        return out.replace_feature(torch.relu(out.features + x.features))


def _layer(
    kind: type, in_channels: int, channels: int, norm_cfg: dict, **kwargs: object
) -> SparseSequential:
    return SparseSequential(
        kind(in_channels, channels, 3, padding=1, bias=False, **kwargs),
        build_norm_layer(norm_cfg, channels)[1],
        nn.ReLU(inplace=True),
    )
