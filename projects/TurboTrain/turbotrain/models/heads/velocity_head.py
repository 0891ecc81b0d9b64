"""Velocities of objects from what was occupied round them."""

from typing import NamedTuple

import torch
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from ...errors import SettingError
from ..occupancy import OccupancyGrid, OccupancyMaps, likeness

__all__ = ['Motion', 'VelocityHead']

_TYPICAL = 5.0  # m/s that count as 1 in the network
_MARGIN = 0.4  # m
_TURNS = 3  # bits that number the eight ways of turning and mirroring a square


class Motion(NamedTuple):
    """How M objects move, in the axes of the map.

    Attributes:
        velocity: (M, 2) m/s.
        moving: (M,) bool, whether they are sure to go anywhere.
        features: (M, C) what else was read of them.
    """

    velocity: Tensor
    moving: Tensor
    features: Tensor


@MODELS.register_module()
class VelocityHead(BaseModule):
    r"""Velocity of each box from fine occupancy round it, and whether it moves at all.

    A small convolutional network looks at a square round each box in T frames, at what is occupied
    there in some layers above the ground, in the axes of the map, and at the :func:`~.likeness` of
    earlier frames to what is now within the box. It learns from true boxes with noise,

    .. math:: L_v = \frac{1}{|M|} \sum_{m \in M} \mathrm{smooth}_{L1}(v_m - \hat v_m), \qquad
              L_g = \frac{1}{|M|} \sum_{m \in M} \mathrm{BCE}(g_m, \hat g_m),

    with the true velocity over the last step, or over the next one where an object is new, and
    :math:`\hat g_m = 1` where it gets further than ``moving_distance`` in what is known of its
    future. Most objects stand, and a wrong start costs each of them its forecast: g has to be above
    ``moving_score``. Motion looks alike whichever way it goes, so that each square
    is learned from in several of the eight ways of turning and mirroring it. Nothing depends on the
    box's heading, which detectors tell worst of all.

    Maps that agents share are too coarse for this: networks on them do not learn in thousands of
    steps what this one learns in hundreds, see docs/experiments.md. It needs points of several
    frames and boxes and nothing else, so that it goes with any LiDAR detector.

    Source: ours. Crops of occupancy over time go back to FaF (Luo et al., CVPR 2018) and MotionNet
    (Wu et al., CVPR 2020), which do it for whole maps.

    Args:
        num_classes: classes of the detector.
        num_frames: T.
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.
        cell_size: ``[x, y, z]`` (m) of the occupancy.
        crop_cells: cells along each side of the square, an odd number.
        levels: metres above the bottom of a box: borders of the layers.
        feat_channels: width of the result.
        views: ways to turn and mirror, at random, in which each box is learned from.
        position_noise: standard deviation (m) of the noise on boxes in training.
        moving_distance: metres.
        moving_score: probability above which an object is taken to move.
        step: seconds from one position of a future to the next.
        beta: m/s, from which on ``loss_velocity`` is linear.
        loss_weight: of ``loss_velocity`` and ``loss_moving``.

    Raises:
        SettingError: the square has no middle cell, there are no views, or the range is no multiple
            of the cells.
    """

    def __init__(
        self,
        num_classes: int,
        num_frames: int,
        point_cloud_range: list[float],
        cell_size: tuple[float, float, float] = (0.4, 0.4, 0.25),
        crop_cells: int = 33,
        levels: tuple[float, ...] = (0.3, 1.05, 3.05),
        feat_channels: int = 128,
        views: int = 4,
        position_noise: float = 0.2,
        moving_distance: float = 1.0,
        moving_score: float = 0.9,
        step: float = 0.5,
        beta: float = 0.5,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if crop_cells % 2 == 0 or min(crop_cells, views) < 1:
            raise SettingError(
                f'expected an odd number of crop_cells and at least one view, got {crop_cells} '
                f'and {views}'
            )
        self.num_classes, self.num_frames = num_classes, num_frames
        self.crop_cells, self.levels = crop_cells, tuple(levels)
        self.views, self.position_noise = views, position_noise
        self.moving_distance, self.moving_score = moving_distance, moving_score
        self.step, self.beta, self.loss_weight = step, beta, loss_weight
        self.occupancy = OccupancyGrid(point_cloud_range, list(cell_size))
        layers = num_frames * (len(self.levels) - 1) + num_frames - 1
        self.convs = nn.Sequential(
            *(
                ConvModule(a, b, 3, stride=2, padding=1)
                for a, b in ((layers, 32), (32, 64), (64, 64))
            )
        )
        self.mlp = nn.Sequential(
            nn.Linear(64 * (-(-crop_cells // 8)) ** 2 + num_classes + 3, feat_channels),
            nn.ReLU(inplace=True),
            nn.Linear(feat_channels, feat_channels),
            nn.ReLU(inplace=True),
        )
        self.velocity = nn.Linear(feat_channels, 2)
        self.moving = nn.Linear(feat_channels + 1, 1)
        for layer in self.mlp[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.velocity.weight)
        nn.init.zeros_(self.velocity.bias)

    def look(
        self, clouds: list[Tensor], motions: Tensor | None, places: Tensor, count: int
    ) -> OccupancyMaps:
        """See :meth:`OccupancyGrid.forward`.

        Raises:
            SettingError: the clouds are not of T frames.
        """
        frames = len(clouds) // len(places)
        if frames != self.num_frames:
            raise SettingError(
                f'velocity_head.num_frames is {self.num_frames}, but samples have {frames} frames; '
                'set it to num_history + 1 of the data, or leave the head out with '
                'velocity_head=None'
            )
        return self.occupancy(clouds, motions, places, count)

    def forward(
        self, crops: Tensor, boxes: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See how objects move.

        Args:
            crops: (M, T * L + T - 1, S, S), occupancy round the boxes, and likeness.
            boxes: (M, 7) ``(x, y, z_bottom, l, w, h, yaw)``.
            labels: (M,) int64.

        Returns:
            (M, 2) velocities, m/s; (M,) logits of moving; (M, C) features.
        """
        seen = self.convs(crops).flatten(1)
        one_hot = functional.one_hot(labels, self.num_classes).to(seen)
        size = boxes[:, 3:6].to(seen).clamp(min=0.1).log()
        hidden = self.mlp(torch.cat([seen, one_hot, size], dim=1))
        velocity = _TYPICAL * self.velocity(hidden).float()
        # A walk differs from standing as clearly as a drive from a walk.
        speed = velocity.detach().norm(dim=1, keepdim=True).log1p().to(hidden)
        moving = self.moving(torch.cat([hidden, speed], dim=1))[:, 0].float()
        return velocity, moving, hidden

    def loss_and_predict(
        self,
        maps: OccupancyMaps,
        boxes: list[Tensor],
        labels: list[Tensor],
        velocities: list[Tensor],
        known: list[Tensor],
        futures: list[Tensor],
        future_known: list[Tensor],
    ) -> tuple[dict[str, Tensor], list[Motion]]:
        """Learn from true boxes, and what :meth:`predict` says of them, from one pass.

        Args:
            maps: of the B samples.
            boxes: B tensors (M_b, 7); M_b may be 0.
            labels: B tensors (M_b,).
            velocities: B tensors (M_b, 2), m/s in the map's axes.
            known: B bool tensors (M_b,).
            futures: B tensors (M_b, F, 2), positions, metres.
            future_known: B bool tensors (M_b, F).

        Returns:
            ``loss_velocity`` and ``loss_moving``, scalars with a graph even when there is no
            object; and the motion of each sample's boxes, without the gradient of velocities.
        """
        counts = [len(one) for one in boxes]
        box, label = torch.cat(boxes), torch.cat(labels)
        noise = self.position_noise * torch.randn_like(box[:, :2])
        disturbed = torch.cat([box[:, :2] + noise, box[:, 2:]], dim=1)
        crops = self._crop(maps, disturbed, counts)
        views = torch.randint(2**_TURNS, (self.views, len(box)), device=box.device)
        views[0] = 0
        views = views.flatten()
        velocity, moving, features = self(
            _turned(crops.repeat(self.views, 1, 1, 1), views),
            disturbed.repeat(self.views, 1),
            label.repeat(self.views),
        )
        future, future_mask = torch.cat(futures), torch.cat(future_known)
        ahead = (future[:, 0] - box[:, :2]) / self.step
        known_now = torch.cat(known)
        wanted = torch.where(known_now[:, None], torch.cat(velocities).float(), ahead)
        mask = known_now | future_mask[:, 0]
        error = functional.smooth_l1_loss(
            velocity,
            _turned_vectors(wanted.repeat(self.views, 1), views),
            reduction='none',
            beta=self.beta,
        )
        of_box = error.sum(dim=-1).view(self.views, -1).mean(dim=0) * mask
        way = ((future - box[:, None, :2]).norm(dim=-1) * future_mask).amax(dim=1)
        moves = way > self.moving_distance
        told = moves | future_mask[:, -1]
        target = moves.repeat(self.views).to(moving)
        gate = functional.binary_cross_entropy_with_logits(moving, target, reduction='none')
        gate = gate.view(self.views, -1).mean(dim=0) * told
        losses = dict(
            loss_velocity=self.loss_weight * of_box.sum() / mask.sum().clamp(min=1),
            loss_moving=self.loss_weight * gate.sum() / told.sum().clamp(min=1),
        )
        own = slice(len(box))
        motions = self._motions(velocity[own].detach(), moving[own], features[own], counts)
        return losses, motions

    def predict(
        self, maps: OccupancyMaps, boxes: list[Tensor], labels: list[Tensor]
    ) -> list[Motion]:
        """The motion of each sample's boxes."""
        counts = [len(one) for one in boxes]
        box = torch.cat([one[:, :7] for one in boxes])
        found = self(self._crop(maps, box, counts), box, torch.cat(labels))
        return self._motions(*found, counts)

    def _crop(self, maps: OccupancyMaps, boxes: Tensor, counts: list[int]) -> Tensor:
        counts = torch.tensor(counts, device=boxes.device)
        places = torch.repeat_interleave(counts, output_size=len(boxes))
        reach = self.crop_cells // 4
        wide = maps.crop(boxes[:, :3], places, self.crop_cells + 2 * reach, self.levels)
        # A circle, whichever way the box points, and a margin for where it was detected.
        cells = torch.arange(-reach, reach + 1.0, device=boxes.device)
        away = torch.hypot(*torch.meshgrid(cells, cells, indexing='ij')) * self.occupancy.cell[0]
        within = away <= boxes[:, 3:5].norm(dim=1)[:, None, None] / 2 + _MARGIN
        square = slice(reach, reach + self.crop_cells)
        near = wide[..., square, square].flatten(1, 2)
        return torch.cat([near, likeness(wide, within)], dim=1)

    def _motions(
        self, velocity: Tensor, moving: Tensor, features: Tensor, counts: list[int]
    ) -> list[Motion]:
        moves = moving.sigmoid() > self.moving_score
        parts = [part.split(counts) for part in (velocity, moves, features)]
        return [Motion(*part) for part in zip(*parts, strict=True)]


def _turned(squares: Tensor, ways: Tensor) -> Tensor:
    """Squares (M, ..., S, S), each mirrored in x, in y and in x = y as the bits of its way say."""
    bits = ((ways[:, None] >> torch.arange(_TURNS, device=ways.device)) & 1).bool()
    bits = bits.view(-1, _TURNS, *[1] * (squares.dim() - 1))
    squares = torch.where(bits[:, 0], squares.flip(-1), squares)
    squares = torch.where(bits[:, 1], squares.flip(-2), squares)
    return torch.where(bits[:, 2], squares.transpose(-1, -2), squares)


def _turned_vectors(vectors: Tensor, ways: Tensor) -> Tensor:
    """Vectors (M, 2) along x and y in squares that :func:`_turned` has turned."""
    bits = ((ways[:, None] >> torch.arange(_TURNS, device=ways.device)) & 1).bool()
    mirrored = torch.where(bits[:, :2], -vectors, vectors)
    return torch.where(bits[:, 2:], mirrored.flip(-1), mirrored)
