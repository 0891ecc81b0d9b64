"""Velocities of objects from what was occupied round them."""

from typing import NamedTuple

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional

from ...errors import SettingError
from ..occupancy import OccupancyGrid, OccupancyMaps, likeness
from .matching import StepMatcher
from .squares import WAYS, SquareReader, middle, turned, turned_vectors

__all__ = ['Motion', 'VelocityHead']

_TYPICAL = 5.0  # m/s that count as 1 in the networks
_MARGIN = 0.4  # m
_WALKS = 1.0  # m/s


class Motion(NamedTuple):
    """How M objects move, in the axes of the map.

    Attributes:
        velocity: (M, 2) m/s.
        acceleration: (M, 2) m/s^2.
        moving: (M,) bool, whether they are sure to go anywhere.
        features: (M, C) what else was read of them.
    """

    velocity: Tensor
    acceleration: Tensor
    moving: Tensor
    features: Tensor


@MODELS.register_module()
class VelocityHead(BaseModule):
    r"""How each box moves, from fine occupancy round it: velocity, acceleration, and if at all.

    It looks twice, each time at what is occupied in a square in T frames, in some layers above the
    bottom of the box, in the axes of the map, and at the :func:`~.likeness` of earlier frames to
    what is now within the box. In the first square, which stays where the box is now,
    :class:`StepMatcher` finds the step from frame to frame and with it :math:`v^0`. The second
    moves along with the object as :math:`v^0` says: what is left to be seen is small, whatever the
    speed, and tells the rest of the velocity r and the acceleration a. Both learn from true boxes
    with noise, the second from true velocities with noise as well as from the first's:

    .. math:: L_s = \frac{\sum_{m \in M} w_m\,\mathrm{CE}(s_m, \hat s_m)}{\sum_{m \in M} w_m}, \quad
              L_v = \frac{1}{|M|} \sum_{m \in M} \mathrm{smooth}_{L1}(v^0_m + r_m - \hat v_m),
              \quad
              L_a = \frac{1}{|M|} \sum_{m \in M} \mathrm{smooth}_{L1}(a_m - \hat a_m), \quad
              L_g = \frac{1}{|M|} \sum_{m \in M} \mathrm{BCE}(g_m, \hat g_m),

    with the true velocity over the last step, or over the next one where an object is new, its
    change from the step before, and :math:`\hat g_m = 1` where an object gets further than
    ``moving_distance`` in what is known of its future. Most objects stand, and a wrong start costs
    each of them its forecast: g has to be above ``moving_score``. Motion looks alike whichever way
    it goes, so that the second square is learned from in several of the eight ways of turning and
    mirroring it. Nothing depends on the box's heading, which detectors tell worst of all.

    Maps that agents share are too coarse for this: networks on them do not learn in thousands of
    steps what this one learns in hundreds, see docs/experiments.md. It needs points of several
    frames and boxes and nothing else, so that it goes with any LiDAR detector.

    Source: ours. Crops of occupancy over time go back to FaF (Luo et al., CVPR 2018) and MotionNet
    (Wu et al., CVPR 2020), which do it for whole maps; a score for each displacement is the cost
    volume of stereo and flow (Dosovitskiy et al., ICCV 2015); to align by an estimate and estimate
    what is left is how optical flow is found (Lucas and Kanade, IJCAI 1981).

    Args:
        num_classes: classes of the detector.
        num_frames: T.
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]``, metres.
        cell_size: ``[x, y, z]`` (m) of the occupancy.
        crop_cells: cells along each side of the first square, an odd number. Half of them is the
            longest step.
        refine_cells: of the second square.
        levels: metres above the bottom of a box: borders of the layers.
        feat_channels: width of the result.
        match_channels: width of the features of steps.
        views: ways to turn and mirror, at random, in which each second square is learned from.
        position_noise: standard deviation (m) of the noise on boxes in training.
        start_noise: standard deviation of the noise on true velocities from which the second look
            learns: m/s for what stands, and by how much it grows with the speed.
        moving_distance: metres.
        moving_score: probability above which an object is taken to move.
        moving_weight: :math:`w_m` of what moves at 1 m/s or more; it is 1 for all else.
        step: seconds from one frame, and from one position of a future, to the next.
        beta: m/s, from which on ``loss_velocity`` is linear; twice as much for accelerations.
        loss_weight: of all four losses.

    Raises:
        SettingError: a square has no middle cell, cells are not square, as turning needs, there are
            no views, or the range is no multiple of the cells.
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
        match_channels: int = 8,
        views: int = 3,
        position_noise: float = 0.2,
        start_noise: tuple[float, float] = (0.3, 0.02),
        moving_distance: float = 1.0,
        moving_score: float = 0.7,
        moving_weight: float = 4.0,
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
        if cell_size[0] != cell_size[1]:
            raise SettingError(f'expected a cell_size with x equal to y, got {tuple(cell_size)}')
        self.num_classes, self.num_frames = num_classes, num_frames
        self.crop_cells, self.refine_cells, self.levels = crop_cells, refine_cells, tuple(levels)
        self.views, self.position_noise, self.start_noise = views, position_noise, start_noise
        self.moving_distance, self.moving_score = moving_distance, moving_score
        self.moving_weight = moving_weight
        self.step, self.beta, self.loss_weight = step, beta, loss_weight
        self.occupancy = OccupancyGrid(point_cloud_range, list(cell_size))
        layers = num_frames * (len(self.levels) - 1) + num_frames - 1
        about = num_classes + 3
        self.first = SquareReader(layers, crop_cells, about, feat_channels)
        # Two frames back tell a steady motion; further ones would take ever larger squares.
        back = min(num_frames - 1, 2)
        self.matcher = StepMatcher(crop_cells, back, match_channels, feat_channels)
        self.moving = nn.Linear(feat_channels + 2, 1)
        self.second = SquareReader(layers, refine_cells, about + 2, feat_channels)
        self.rest = nn.Linear(feat_channels, 4)
        nn.init.zeros_(self.rest.weight)
        nn.init.zeros_(self.rest.bias)

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

    def estimate(
        self, maps: OccupancyMaps, boxes: Tensor, labels: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The first look, at what stays in place.

        Args:
            maps: of S places.
            boxes: (M, 7) ``(x, y, z_bottom, l, w, h, yaw)``.
            labels: (M,) int64.
            places: (M,) int64, which of the S.

        Returns:
            (M, C, C) logits of the steps; (M, 2) velocities, m/s, without a gradient; and (M,)
            logits of moving.
        """
        cells, back = self.crop_cells, self.matcher.back
        margin = cells // 4
        size = cells + 2 * margin + max(0, back - 1) * (cells - 1)
        wide = maps.crop(boxes[:, :3], places, size, self.levels)
        found = likeness(torch.cat([wide, wide[:, -1:]], dim=1), self._within(boxes, margin))
        near = [middle(wide, cells).flatten(1, 2), middle(found[:, :-1], cells)]
        features = self.first(torch.cat(near, dim=1), self._about(boxes, labels))
        scores = self.matcher(found, features)
        with torch.no_grad():
            velocity = self.matcher.best(scores) * self.occupancy.cell[:2] / self.step
            # A walk differs from standing as clearly as a drive from a walk.
            speed = velocity.norm(dim=1, keepdim=True).log1p()
            stands = self.matcher.stands(scores).clamp(min=-10)[:, None] / 5
        told = torch.cat([features, speed.to(features), stands.to(features)], dim=1)
        return scores, velocity, self.moving(told)[:, 0].float()

    def refine(
        self, squares: Tensor, boxes: Tensor, labels: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The second look, at what moves along.

        Args:
            squares: (M, T * L + T - 1, S', S'), occupancy round the boxes, and likeness.
            boxes: (M, 7).
            labels: (M,).
            start: (M, 2) velocities with which the squares moved, m/s.

        Returns:
            (M, 2) velocities, m/s; (M, 2) accelerations, m/s^2; and (M, C) features.
        """
        features = self.second(squares, [*self._about(boxes, labels), start / _TYPICAL])
        rest, acceleration = (_TYPICAL * self.rest(features).float()).split(2, dim=1)
        return start + rest, acceleration, features

    def _about(self, boxes: Tensor, labels: Tensor) -> list[Tensor]:
        one_hot = functional.one_hot(labels, self.num_classes)
        return [one_hot, boxes[:, 3:6].clamp(min=0.1).log()]

    def loss_and_predict(
        self,
        maps: OccupancyMaps,
        boxes: list[Tensor],
        labels: list[Tensor],
        truth: list[InstanceData],
    ) -> tuple[dict[str, Tensor], list[Motion]]:
        """Learn from true boxes, and what :meth:`predict` says of them, from one pass.

        Args:
            maps: of the B samples.
            boxes: B tensors (M_b, 7); M_b may be 0.
            labels: B tensors (M_b,).
            truth: for each sample ``velocity`` (M_b, 2), m/s, ``acceleration`` (M_b, 2), m/s^2, and
                ``future_trajectories`` (M_b, F, 2), metres, in the map's frame; and which of them
                are known, ``velocity_valid`` (M_b,), ``acceleration_valid`` (M_b,) and
                ``future_valid`` (M_b, F), all bool; the others may be NaN.

        Returns:
            ``loss_step``, ``loss_velocity``, ``loss_acceleration`` and ``loss_moving``, scalars
            with a graph even when there is no object; and the motion of each sample's boxes,
            without the gradient of velocities and accelerations.
        """
        counts = [len(one) for one in boxes]
        box, label, places = torch.cat(boxes), torch.cat(labels), self._places(boxes)
        velocity, moves_now, acceleration, changes, future, ahead = (
            torch.cat([one[name] for one in truth])
            for name in (
                'velocity', 'velocity_valid', 'acceleration', 'acceleration_valid',
                'future_trajectories', 'future_valid',
            )
        )  # fmt: skip
        future = future.where(ahead[..., None], 0)
        acceleration = acceleration.where(changes[:, None], 0)
        next_step = (future[:, 0] - box[:, :2]) / self.step
        known = moves_now | ahead[:, 0]
        wanted = torch.where(moves_now[:, None], velocity.float(), next_step)
        wanted = wanted.where(known[:, None], 0)

        noise = self.position_noise * torch.randn_like(box[:, :2])
        seen = torch.cat([box[:, :2] + noise, box[:, 2:]], dim=1)
        scores, first, moving = self.estimate(maps, seen, label, places)
        steps = wanted * self.step / self.occupancy.cell[:2]
        fast = wanted.norm(dim=1) >= _WALKS
        weight = known * torch.where(fast, self.moving_weight, 1.0)
        surprise = self.matcher.loss(scores, steps) * weight

        def views(values: Tensor) -> Tensor:
            return values.repeat(self.views, *[1] * (values.dim() - 1))

        least, share = self.start_noise
        start = views(wanted)
        spread = least + share * start.norm(dim=1, keepdim=True)
        start = start + spread * torch.randn_like(start)
        own = slice(len(box))  # the view that is not turned, and starts from the first look
        start[own] = first
        start = self._rounded(start)
        ways = torch.randint(WAYS, (len(start),), device=box.device)
        ways[own] = 0
        squares = turned(self._squares(maps, views(seen), views(places), start), ways)
        start = turned_vectors(start, ways)
        second, change, features = self.refine(squares, views(seen), views(label), start)

        def error(found: Tensor, true: Tensor, beta: float) -> Tensor:
            true = turned_vectors(views(true.float()), ways)
            each = functional.smooth_l1_loss(found, true, reduction='none', beta=beta)
            return each.sum(dim=1).view(self.views, -1).mean(dim=0)

        way = ((future - box[:, None, :2]).norm(dim=-1) * ahead).amax(dim=1)
        goes = way > self.moving_distance
        told = goes | ahead[:, -1]
        gate = functional.binary_cross_entropy_with_logits(
            moving, goes.to(moving), reduction='none'
        )
        losses = dict(
            loss_step=surprise.sum() / weight.sum().clamp(min=1),
            loss_velocity=_mean(error(second, wanted, self.beta), known),
            loss_acceleration=_mean(error(change, acceleration, 2 * self.beta), changes),
            loss_moving=_mean(gate, told),
        )
        losses = {name: self.loss_weight * loss for name, loss in losses.items()}
        found = second[own].detach(), change[own].detach(), moving, features[own]
        return losses, self._motions(*found, counts)

    def predict(
        self, maps: OccupancyMaps, boxes: list[Tensor], labels: list[Tensor]
    ) -> list[Motion]:
        """The motion of each sample's boxes."""
        box, label = torch.cat([one[:, :7] for one in boxes]), torch.cat(labels)
        places = self._places(boxes)
        _, velocity, moving = self.estimate(maps, box, label, places)
        start = self._rounded(velocity)
        squares = self._squares(maps, box, places, start)
        velocity, acceleration, features = self.refine(squares, box, label, start)
        counts = [len(one) for one in boxes]
        return self._motions(velocity, acceleration, moving, features, counts)

    @staticmethod
    def _places(boxes: list[Tensor]) -> Tensor:
        counts = torch.tensor([len(one) for one in boxes], device=boxes[0].device)
        return torch.repeat_interleave(counts, output_size=sum(map(len, boxes)))

    def _rounded(self, velocities: Tensor) -> Tensor:
        """To whole cells a frame: squares that move by parts of cells would blur what they show."""
        unit = self.occupancy.cell[:2] / self.step
        return (velocities / unit).round() * unit

    def _squares(
        self, maps: OccupancyMaps, boxes: Tensor, places: Tensor, velocities: Tensor
    ) -> Tensor:
        """(M, T * L + T - 1, S', S') occupancy and likeness along rounded velocities."""
        shift = (velocities * self.step / self.occupancy.cell[:2]).round().long()
        cells, margin = self.refine_cells, self.refine_cells // 4
        wide = maps.crop(boxes[:, :3], places, cells + 2 * margin, self.levels, shift)
        near = middle(wide, cells).flatten(1, 2)
        return torch.cat([near, likeness(wide, self._within(boxes, margin))], dim=1)

    def _within(self, boxes: Tensor, reach: int) -> Tensor:
        """(M, 2 * reach + 1, 2 * reach + 1) bool, which cells in the middle belong to the boxes."""
        # A circle, whichever way the box points, and a margin for where it was detected.
        offsets = torch.arange(-reach, reach + 1.0, device=boxes.device)
        away = torch.hypot(*torch.meshgrid(offsets, offsets, indexing='ij'))
        away = away * self.occupancy.cell[0]
        return away <= boxes[:, 3:5].norm(dim=1)[:, None, None] / 2 + _MARGIN

    def _motions(
        self,
        velocity: Tensor,
        acceleration: Tensor,
        moving: Tensor,
        features: Tensor,
        counts: list[int],
    ) -> list[Motion]:
        moves = moving.sigmoid() > self.moving_score
        parts = [part.split(counts) for part in (velocity, acceleration, moves, features)]
        return [Motion(*part) for part in zip(*parts, strict=True)]


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)
