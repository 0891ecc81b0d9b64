"""Forecasts of detected objects from a bird's-eye-view map."""

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import BaseInstance3DBoxes
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

__all__ = ['TrajectoryHead']

_BOX_FEATURES = 3


@MODELS.register_module()
class TrajectoryHead(BaseModule):
    """Future positions of boxes, read off the map round each of them.

    The map is sampled on a grid that turns with the box and reaches far behind and ahead of it,
    since a moving object's past lies behind it. Features, size and class go through a small
    perceptron to the steps of the path in the box's own frame. It needs a map and boxes and nothing
    else, so that it goes on any LiDAR detector. Untrained, it forecasts that all stands still.

    Source: V2XPnP regresses waypoints of objects with an L2 loss; sampling, sizes and training on
    ground-truth boxes with noise are our choice.

    Args:
        in_channels: C.
        num_classes: classes of the detector.
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]`` (m) of the map.
        num_steps: F, future positions.
        feat_channels: width of the perceptron.
        grid_x: positions along the box's heading that are sampled, metres from its centre.
        grid_y: positions across it.
        position_noise: standard deviation (m) of the noise on boxes in training.
        yaw_noise: standard deviation (rad) of it.
        reversal_probability: share of the boxes that are turned round in training, since detectors
            take the rear for the front.
        loss_weight: of ``loss_trajectory``.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        point_cloud_range: list[float],
        num_steps: int = 6,
        feat_channels: int = 128,
        grid_x: tuple[float, ...] = (-12.0, -8.0, -5.0, -3.0, -1.5, 0.0, 1.5, 3.0, 5.0, 8.0, 12.0),
        grid_y: tuple[float, ...] = (-1.5, 0.0, 1.5),
        position_noise: float = 0.2,
        yaw_noise: float = 0.05,
        reversal_probability: float = 0.2,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_classes = num_classes
        self.num_steps = num_steps
        self.position_noise = position_noise
        self.yaw_noise = yaw_noise
        self.reversal_probability = reversal_probability
        self.loss_weight = loss_weight
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
            nn.Linear(feat_channels, 2 * num_steps),
        )
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)

    def forward(self, bev: Tensor, boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Forecast.

        Args:
            bev: (B, C, H, W); H runs along y, W along x.
            boxes: B tensors (M_b, 7) ``(x, y, z_bottom, l, w, h, yaw)``; M_b may be 0.
            labels: B int64 tensors (M_b,).

        Returns:
            B tensors (M_b, F, 2): positions in the map's frame, metres.
        """
        counts = [len(b) for b in boxes]
        features = self._sample(self.reduce(bev), boxes)
        box, label = torch.cat(boxes), torch.cat(labels)
        one_hot = functional.one_hot(label, self.num_classes).to(features.dtype)
        size = box[:, 3:6].to(features.dtype).clamp(min=0.1).log()
        steps = self.mlp(torch.cat([features, size, one_hot], dim=1))
        offsets = steps.unflatten(1, (self.num_steps, 2)).float().cumsum(dim=1)
        return list((_rotate(offsets, box[:, 6]) + box[:, None, :2]).split(counts))

    def _sample(self, bev: Tensor, boxes: list[Tensor]) -> Tensor:
        """(sum M_b, G * C) features of the map on the grid of each box."""
        width = max([len(b) for b in boxes] + [1])
        padded = torch.stack([functional.pad(b[:, :7], (0, 0, 0, width - len(b))) for b in boxes])
        flat = padded.flatten(0, 1)
        at = _rotate(self.grid.expand(len(flat), -1, -1), flat[:, 6]) + flat[:, None, :2]
        low, high = self.limits[:2], self.limits[3:5]
        normalised = (at - low) / (high - low) * 2 - 1
        grid = normalised.view(len(boxes), width, len(self.grid), 2).to(bev.dtype)
        sampled = functional.grid_sample(bev, grid, align_corners=False).permute(0, 2, 3, 1)
        return torch.cat([s[: len(b)].flatten(1) for s, b in zip(sampled, boxes, strict=True)])

    def loss(
        self,
        bev: Tensor,
        boxes: list[Tensor],
        labels: list[Tensor],
        futures: list[Tensor],
        valid: list[Tensor],
    ) -> dict[str, Tensor]:
        """Mean distance to the true positions, from ground-truth boxes with noise.

        Args:
            bev: (B, C, H, W).
            boxes: B tensors (M_b, 7).
            labels: B tensors (M_b,).
            futures: B tensors (M_b, F, 2), metres, in the map's frame.
            valid: B bool tensors (M_b, F).

        Returns:
            ``loss_trajectory``, a scalar with a graph even when there is no object.
        """
        predicted = torch.cat(self(bev, [self._disturb(b) for b in boxes], labels))
        mask = torch.cat(valid)
        error = (predicted - torch.cat(futures)).square().sum(dim=-1)
        # The root's gradient is unbounded at 0.
        distance = (error + 1e-6).sqrt() * mask
        return dict(loss_trajectory=self.loss_weight * distance.sum() / mask.sum().clamp(min=1))

    def predict(
        self, bev: Tensor, boxes: list[BaseInstance3DBoxes], labels: list[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Forecast detections.

        Returns:
            For each sample (M_b, 1, F, 2) positions in the map's frame, metres, and (M_b, 1)
            probabilities: there is one mode.
        """
        paths = self(bev, [b.tensor.to(bev.device) for b in boxes], labels)
        return [(path[:, None], path.new_ones(len(path), 1)) for path in paths]

    def _disturb(self, boxes: Tensor) -> Tensor:
        noise = torch.randn(len(boxes), 3, device=boxes.device)
        reversed_ = torch.rand(len(boxes), device=boxes.device) < self.reversal_probability
        disturbed = boxes.clone()
        disturbed[:, :2] += self.position_noise * noise[:, :2]
        disturbed[:, 6] += self.yaw_noise * noise[:, 2] + torch.pi * reversed_
        return disturbed


def _rotate(vectors: Tensor, yaw: Tensor) -> Tensor:
    """Rotate (M, G, 2) vectors by (M,) angles."""
    cos, sin = yaw.cos()[:, None], yaw.sin()[:, None]
    x, y = vectors[..., 0], vectors[..., 1]
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)
