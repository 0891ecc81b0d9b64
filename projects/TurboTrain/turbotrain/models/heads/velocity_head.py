"""Velocities of objects from what was occupied round them."""

from typing import NamedTuple

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from ...errors import SettingError
from ..occupancy import OccupancyGrid, OccupancyMaps, likeness
from ..squares import WAYS, SquareReader, turned, turned_vectors

__all__ = ['Motion', 'VelocityHead']

_TYPICAL = 5.0  # m/s that count as 1 in the networks
_MARGIN = 0.4  # m


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

    It looks twice, each time at what is occupied in a square in T frames, in some layers above the
    bottom of the box, in the axes of the map, and at the :func:`~.likeness` of earlier frames to
    what is now within the box. The first square stays where the box is now and gives an estimate
    :math:`v^0` and whether the object moves, g. The second moves along with the object as
    :math:`v^0` says: what is left to be seen is small, whatever the speed, and more frames show it.
    It gives the rest, :math:`v = v^0 + r`. Both learn from true boxes with noise, the second from
    true velocities with noise as well as from the first's,

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
    (Wu et al., CVPR 2020), which do it for whole maps; to align by an estimate and estimate what is
    left is how optical flow is found (Lucas and Kanade, IJCAI 1981).

    Args:
        num_classes: classes of the detector.
        num_frames: T.
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.
        cell_size: ``[x, y, z]`` (m) of the occupancy.
        crop_cells: cells along each side of the first square, an odd number.
        refine_cells: of the second square.
        levels: metres above the bottom of a box: borders of the layers.
        feat_channels: width of the result.
        views: ways to turn and mirror, at random, in which each of a box's squares is learned from.
        position_noise: standard deviation (m) of the noise on boxes in training.
        start_noise: standard deviation of the noise on true velocities from which the second look
            learns: m/s for what stands, and by how much it grows with the speed.
        moving_distance: metres.
        moving_score: probability above which an object is taken to move.
        step: seconds from one frame, and from one position of a future, to the next.
        beta: m/s, from which on ``loss_velocity`` is linear.
        loss_weight: of ``loss_velocity`` and ``loss_moving``.

    Raises:
        SettingError: a square has no middle cell, there are no views, or the range is no multiple
            of the cells.
    """

    def __init__(
        self,
        num_classes: int,
        num_frames: int,
        point_cloud_range: list[float],
        cell_size: tuple[float, float, float] = (0.4, 0.4, 0.25),
        crop_cells: int = 33,
        refine_cells: int = 17,
        levels: tuple[float, ...] = (0.3, 1.05, 3.05),
        feat_channels: int = 128,
        views: int = 3,
        position_noise: float = 0.2,
        start_noise: tuple[float, float] = (0.5, 0.1),
        moving_distance: float = 1.0,
        moving_score: float = 0.9,
        step: float = 0.5,
        beta: float = 0.5,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        sizes = crop_cells, refine_cells
        if any(cells % 2 == 0 for cells in sizes) or min(*sizes, views) < 1:
            raise SettingError(
                'expected odd numbers of crop_cells and refine_cells and at least one view, got '
                f'{crop_cells}, {refine_cells} and {views}'
            )
        self.num_classes, self.num_frames = num_classes, num_frames
        self.crop_cells, self.refine_cells, self.levels = crop_cells, refine_cells, tuple(levels)
        self.views, self.position_noise, self.start_noise = views, position_noise, start_noise
        self.moving_distance, self.moving_score = moving_distance, moving_score
        self.step, self.beta, self.loss_weight = step, beta, loss_weight
        self.occupancy = OccupancyGrid(point_cloud_range, list(cell_size))
        layers = num_frames * (len(self.levels) - 1) + num_frames - 1
        about = num_classes + 3
        self.first = SquareReader(layers, crop_cells, about, feat_channels)
        self.second = SquareReader(layers, refine_cells, about + 2, feat_channels)
        self.velocity = nn.Linear(feat_channels, 2)
        self.moving = nn.Linear(feat_channels + 1, 1)
        self.rest = nn.Linear(feat_channels, 2)
        for layer in (self.velocity, self.rest):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

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

    def estimate(self, squares: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The first look, at what stays in place.

        Args:
            squares: (M, T * L + T - 1, S, S), occupancy round the boxes, and likeness.
            boxes: (M, 7) ``(x, y, z_bottom, l, w, h, yaw)``.
            labels: (M,) int64.

        Returns:
            (M, 2) velocities, m/s; (M,) logits of moving.
        """
        hidden = self.first(squares, self._about(boxes, labels))
        velocity = _TYPICAL * self.velocity(hidden).float()
        # A walk differs from standing as clearly as a drive from a walk.
        speed = velocity.detach().norm(dim=1, keepdim=True).log1p().to(hidden)
        moving = self.moving(torch.cat([hidden, speed], dim=1))[:, 0].float()
        return velocity, moving

    def refine(
        self, squares: Tensor, boxes: Tensor, labels: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The second look, at what moves along.

        Args:
            squares: (M, T * L + T - 1, S', S').
            boxes: (M, 7).
            labels: (M,).
            start: (M, 2) velocities with which the squares moved, m/s.

        Returns:
            (M, 2) velocities, m/s; (M, C) features.
        """
        hidden = self.second(squares, [*self._about(boxes, labels), start / _TYPICAL])
        return start + _TYPICAL * self.rest(hidden).float(), hidden

    def _about(self, boxes: Tensor, labels: Tensor) -> list[Tensor]:
        one_hot = functional.one_hot(labels, self.num_classes)
        return [one_hot, boxes[:, 3:6].clamp(min=0.1).log()]

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
        box, label, places = torch.cat(boxes), torch.cat(labels), self._places(boxes)
        future, future_mask = torch.cat(futures), torch.cat(future_known)
        ahead = (future[:, 0] - box[:, :2]) / self.step
        known_now = torch.cat(known)
        wanted = torch.where(known_now[:, None], torch.cat(velocities).float(), ahead)
        mask = known_now | future_mask[:, 0]

        noise = self.position_noise * torch.randn_like(box[:, :2])
        box_views = torch.cat([box[:, :2] + noise, box[:, 2:]], dim=1).repeat(self.views, 1)
        label_views, wanted_views = label.repeat(self.views), wanted.repeat(self.views, 1)
        own = slice(len(box))  # the view that is not turned
        ways = torch.randint(WAYS, (2, len(box_views)), device=box.device)
        ways[:, own] = 0
        squares = self._squares(maps, box_views[own], places, self.crop_cells)
        squares = turned(squares.repeat(self.views, 1, 1, 1), ways[0])
        first, moving = self.estimate(squares, box_views, label_views)

        least, share = self.start_noise
        spread = least + share * wanted_views.norm(dim=1, keepdim=True)
        start = wanted_views * mask.repeat(self.views)[:, None]
        start = start + spread * torch.randn_like(start)
        start[own] = first[own].detach()
        start = self._rounded(start)
        squares = self._squares(
            maps, box_views, places.repeat(self.views), self.refine_cells, start
        )
        start = turned_vectors(start, ways[1])
        second, features = self.refine(turned(squares, ways[1]), box_views, label_views, start)

        error = functional.smooth_l1_loss(
            torch.cat([first, second]),
            torch.cat([turned_vectors(wanted_views, way) for way in ways]),
            reduction='none',
            beta=self.beta,
        )
        of_box = error.sum(dim=-1).view(2 * self.views, -1).mean(dim=0) * mask
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
        return losses, self._motions(second[own].detach(), moving[own], features[own], counts)

    def predict(
        self, maps: OccupancyMaps, boxes: list[Tensor], labels: list[Tensor]
    ) -> list[Motion]:
        """The motion of each sample's boxes."""
        box, label = torch.cat([one[:, :7] for one in boxes]), torch.cat(labels)
        places = self._places(boxes)
        squares = self._squares(maps, box, places, self.crop_cells)
        velocity, moving = self.estimate(squares, box, label)
        start = self._rounded(velocity)
        squares = self._squares(maps, box, places, self.refine_cells, start)
        velocity, features = self.refine(squares, box, label, start)
        return self._motions(velocity, moving, features, [len(one) for one in boxes])

    @staticmethod
    def _places(boxes: list[Tensor]) -> Tensor:
        counts = torch.tensor([len(one) for one in boxes], device=boxes[0].device)
        return torch.repeat_interleave(counts, output_size=sum(map(len, boxes)))

    def _rounded(self, velocities: Tensor) -> Tensor:
        """To whole cells a frame: squares that move by parts of cells would blur what they show."""
        unit = self.occupancy.cell[:2] / self.step
        return (velocities / unit).round() * unit

    def _squares(
        self,
        maps: OccupancyMaps,
        boxes: Tensor,
        places: Tensor,
        cells: int,
        velocities: Tensor | None = None,
    ) -> Tensor:
        """(M, T * L + T - 1, cells, cells) occupancy and likeness; velocities are rounded ones."""
        shift = None
        if velocities is not None:
            shift = (velocities * self.step / self.occupancy.cell[:2]).round().long()
        reach = cells // 4
        wide = maps.crop(boxes[:, :3], places, cells + 2 * reach, self.levels, shift)
        # A circle, whichever way the box points, and a margin for where it was detected.
        offsets = torch.arange(-reach, reach + 1.0, device=boxes.device)
        away = torch.hypot(*torch.meshgrid(offsets, offsets, indexing='ij'))
        away = away * self.occupancy.cell[0]
        within = away <= boxes[:, 3:5].norm(dim=1)[:, None, None] / 2 + _MARGIN
        square = slice(reach, reach + cells)
        near = wide[..., square, square].flatten(1, 2)
        return torch.cat([near, likeness(wide, within)], dim=1)

    def _motions(
        self, velocity: Tensor, moving: Tensor, features: Tensor, counts: list[int]
    ) -> list[Motion]:
        moves = moving.sigmoid() > self.moving_score
        parts = [part.split(counts) for part in (velocity, moves, features)]
        return [Motion(*part) for part in zip(*parts, strict=True)]
