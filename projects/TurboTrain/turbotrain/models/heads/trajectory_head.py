"""Forecasts of detected objects from a bird's-eye-view map."""

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import BaseInstance3DBoxes
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from ...errors import SettingError
from ..map_encoder import VectorMapAttention, VectorMaps
from ..warping import read_maps

__all__ = ['TrajectoryHead']

_BOX_FEATURES = 3


@MODELS.register_module()
class TrajectoryHead(BaseModule):
    r"""Future positions of boxes, read off the map round each of them.

    The map is sampled on a grid that turns with the box and reaches far behind and ahead of it,
    since a moving object's past lies behind it. Features, size and class go through a small
    perceptron to the steps of the path in the box's own frame. It needs a map and boxes and nothing
    else, so that it goes on any LiDAR detector.

    With several modes the winner takes all: the mode k* whose positions are nearest to the truth on
    average is regressed, and the scores s learn which one that is,

    .. math:: L = \frac{1}{|V|} \sum_{(m, t) \in V} \lVert y_{m k^* t} - \hat y_{mt} \rVert
              + w \frac1M \sum_m -\log \mathrm{softmax}(s_m)_{k^*},

    with V the known steps. Untrained, mode k drives ahead at k metres a step, from 0: equal modes
    would stay equal.

    Source: V2XPnP regresses waypoints of objects with an L2 loss, in one mode; winner-takes-all
    with scores is MTP's (Cui et al., ICRA 2019). Sampling, sizes, how modes begin, and training on
    ground-truth boxes with noise are our choice.

    Args:
        in_channels: C.
        num_classes: classes of the detector.
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]`` (m) of the map.
        num_steps: F, future positions.
        num_modes: K.
        feat_channels: width of the perceptron.
        grid_x: positions along the box's heading that are sampled, metres from its centre.
        grid_y: positions across it.
        position_noise: standard deviation (m) of the noise on boxes in training.
        yaw_noise: standard deviation (rad) of it.
        reversal_probability: share of the boxes that are turned round in training, since detectors
            take the rear for the front.
        map_attention: settings of the :class:`VectorMapAttention` from a box to the polylines
            nearest to it; None looks at no map.
        loss_weight: of ``loss_trajectory``.
        mode_weight: w, of ``loss_trajectory_mode``, which several modes have.

    Raises:
        ValueError: there are no steps or modes, or the probability is none.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        point_cloud_range: list[float],
        num_steps: int = 6,
        num_modes: int = 1,
        feat_channels: int = 128,
        grid_x: tuple[float, ...] = (-12.0, -8.0, -5.0, -3.0, -1.5, 0.0, 1.5, 3.0, 5.0, 8.0, 12.0),
        grid_y: tuple[float, ...] = (-1.5, 0.0, 1.5),
        position_noise: float = 0.2,
        yaw_noise: float = 0.05,
        reversal_probability: float = 0.2,
        map_attention: dict | None = None,
        loss_weight: float = 1.0,
        mode_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if min(num_steps, num_modes) < 1 or not 0 <= reversal_probability <= 1:
            raise SettingError(
                'expected num_steps and num_modes of at least 1 and a reversal_probability from 0 '
                f'to 1, got {num_steps}, {num_modes} and {reversal_probability}'
            )
        self.num_classes = num_classes
        self.num_steps = num_steps
        self.num_modes = num_modes
        self.position_noise = position_noise
        self.yaw_noise = yaw_noise
        self.reversal_probability = reversal_probability
        self.loss_weight, self.mode_weight = loss_weight, mode_weight
        grid = torch.cartesian_prod(torch.tensor(grid_x), torch.tensor(grid_y))
        limits = torch.tensor(point_cloud_range, dtype=torch.float32)
        self.register_buffer('grid', grid.view(-1, 2).float(), persistent=False)
        self.register_buffer('limits', limits, persistent=False)
        self.reduce = nn.Conv2d(in_channels, feat_channels // 4, 1)
        inputs = len(self.grid) * (feat_channels // 4) + _BOX_FEATURES + num_classes
        self.mlp = nn.Sequential(
            nn.Linear(inputs, feat_channels),
            nn.ReLU(inplace=True),
            nn.Linear(feat_channels, feat_channels),
            nn.ReLU(inplace=True),
            nn.Linear(feat_channels, 2 * num_steps * num_modes),
        )
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)
        with torch.no_grad():
            ahead = self.mlp[-1].bias.view(num_modes, num_steps, 2)[..., 0]
            ahead += torch.arange(num_modes)[:, None]
        self.mode_score = nn.Linear(feat_channels, num_modes) if num_modes > 1 else None
        self.map_attention = (
            VectorMapAttention(feat_channels, **map_attention)
            if map_attention is not None
            else None
        )

    @property
    def needs_map(self) -> bool:
        """Whether it looks at the vector map."""
        return self.map_attention is not None

    def forward(
        self,
        bev: Tensor,
        boxes: list[Tensor],
        labels: list[Tensor],
        vector_maps: VectorMaps | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Forecast.

        Args:
            bev: (B, C, H, W); H runs along y, W along x.
            boxes: B tensors (M_b, 7) ``(x, y, z_bottom, l, w, h, yaw)``; M_b may be 0.
            labels: B int64 tensors (M_b,).
            vector_maps: of the B samples, in the map's frame, for a head with ``map_attention``;
                None is a map without lines.

        Returns:
            B tensors (M_b, K, F, 2): positions in the map's frame, metres; and B tensors (M_b, K),
            the modes' scores before softmax.
        """
        counts = [len(b) for b in boxes]
        width = max([*counts, 1])
        # A rectangle of samples x boxes.
        box = torch.stack([functional.pad(b[:, :7], (0, 0, 0, width - len(b))) for b in boxes])
        label = torch.stack([functional.pad(one, (0, width - len(one))) for one in labels])
        features = self._sample(self.reduce(bev), box)
        one_hot = functional.one_hot(label, self.num_classes).to(features.dtype)
        size = box[..., 3:6].to(features.dtype).clamp(min=0.1).log()
        hidden = self.mlp[:-1](torch.cat([features, size, one_hot], dim=-1))
        if self.map_attention is not None:
            if vector_maps is None:
                nothing = box.new_zeros(len(box), 1, 1, 7)
                vector_maps = VectorMaps(nothing, nothing[..., 0].bool())
            hidden = self.map_attention(hidden, box[..., :2], box[..., 6], vector_maps)
        steps = self.mlp[-1](hidden).unflatten(-1, (self.num_modes, self.num_steps, 2))
        offsets = steps.float().cumsum(dim=-2).flatten(2, 3)
        paths = _rotate(offsets, box[..., 6]) + box[:, :, None, :2]
        paths = paths.unflatten(2, (self.num_modes, self.num_steps))
        if self.mode_score is None:
            scores = paths.new_zeros(paths.shape[:3])
        else:
            scores = self.mode_score(hidden).float()
        return (
            [path[:count] for path, count in zip(paths, counts, strict=True)],
            [score[:count] for score, count in zip(scores, counts, strict=True)],
        )

    def _sample(self, bev: Tensor, boxes: Tensor) -> Tensor:
        """(B, M, G * C) features of the map on the grid of each of the boxes (B, M, 7)."""
        at = _rotate(self.grid.expand(*boxes.shape[:2], -1, -1), boxes[..., 6])
        at = at + boxes[:, :, None, :2]
        low, high = self.limits[:2], self.limits[3:5]
        sampled = read_maps(bev, (at - low) / (high - low) * 2 - 1)
        return sampled.permute(0, 2, 3, 1).flatten(2)

    def loss(
        self,
        bev: Tensor,
        boxes: list[Tensor],
        labels: list[Tensor],
        futures: list[Tensor],
        valid: list[Tensor],
        vector_maps: VectorMaps | None = None,
    ) -> dict[str, Tensor]:
        """Mean distance to the true positions, from ground-truth boxes with noise.

        Args:
            bev: (B, C, H, W).
            boxes: B tensors (M_b, 7).
            labels: B tensors (M_b,).
            futures: B tensors (M_b, F, 2), metres, in the map's frame.
            valid: B bool tensors (M_b, F).
            vector_maps: see :meth:`forward`.

        Returns:
            ``loss_trajectory`` and, with several modes, ``loss_trajectory_mode``: scalars with a
            graph even when there is no object.
        """
        paths, scores = self(bev, [self._disturb(b) for b in boxes], labels, vector_maps)
        paths, scores, mask = torch.cat(paths), torch.cat(scores), torch.cat(valid)
        error = (paths - torch.cat(futures)[:, None]).square().sum(dim=-1)
        # The root's gradient is unbounded at 0.
        distance = (error + 1e-6).sqrt() * mask[:, None]
        of_mode = distance.sum(dim=-1)
        winner = of_mode.argmin(dim=1)
        best = of_mode.gather(1, winner[:, None])
        losses = dict(loss_trajectory=self.loss_weight * best.sum() / mask.sum().clamp(min=1))
        if self.num_modes > 1:
            known = mask.any(dim=1)
            surprise = functional.cross_entropy(scores, winner, reduction='none') * known
            mean = surprise.sum() / known.sum().clamp(min=1)
            losses['loss_trajectory_mode'] = self.mode_weight * mean
        return losses

    def predict(
        self,
        bev: Tensor,
        boxes: list[BaseInstance3DBoxes],
        labels: list[Tensor],
        vector_maps: VectorMaps | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Forecast detections.

        Returns:
            For each sample (M_b, K, F, 2) positions in the map's frame, metres, and (M_b, K)
            probabilities.
        """
        paths, scores = self(bev, [b.tensor.to(bev.device) for b in boxes], labels, vector_maps)
        return list(zip(paths, (score.softmax(dim=-1) for score in scores), strict=True))

    def _disturb(self, boxes: Tensor) -> Tensor:
        noise = torch.randn(len(boxes), 3, device=boxes.device)
        reversed_ = torch.rand(len(boxes), device=boxes.device) < self.reversal_probability
        disturbed = boxes.clone()
        disturbed[:, :2] += self.position_noise * noise[:, :2]
        disturbed[:, 6] += self.yaw_noise * noise[:, 2] + torch.pi * reversed_
        return disturbed


def _rotate(vectors: Tensor, yaw: Tensor) -> Tensor:
    """Rotate (..., G, 2) vectors by (...) angles."""
    cos, sin = yaw.cos()[..., None], yaw.sin()[..., None]
    x, y = vectors[..., 0], vectors[..., 1]
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)
