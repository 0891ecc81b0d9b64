"""Forecasts of detected objects from a bird's-eye-view map."""

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from ...errors import SettingError
from ...structures import drive_along_lanes, driving_lanes
from ..box_motion import from_axes, to_axes
from ..headings import FAST_ENOUGH
from ..map_encoder import VectorMapAttention, VectorMaps
from ..warping import read_maps
from .velocity_head import Motion

__all__ = ['TrajectoryHead']

_BOX_FEATURES = 7  # logarithms of the sizes, the speed and its logarithm, acceleration
_FAST, _BRAKES, _FAR = 10.0, 5.0, 10.0  # m/s, m/s^2 and m that count as 1 in the network


@MODELS.register_module()
class TrajectoryHead(BaseModule):
    r"""Future positions of boxes: what driving on leaves to be said.

    A box's axes R are along its velocity, or the map's where it hardly moves. The map is sampled on
    a grid in them. Features, size, class, the box's :class:`Motion` and the path d that it leads to
    go through a small perceptron to a residual r,

    .. math:: y_{kt} = d(c, s_k\,v, s_k\,a, t) + R\,r_{kt},

    where d drives on from the box's centre c with its velocity v and acceleration a (0 without a
    velocity head), straight, or with ``follow_lanes`` along the lanes of the vector map. Nothing
    depends on the box's heading: which end of a box is the front is what detectors tell worst, and
    a path in the box's own frame turns round with it.

    Each object counts by its errors over the known times V. Their logarithm keeps a few fast cars
    from outweighing all others. With several modes the winner takes all: the mode k* whose
    positions are nearest to the truth is regressed, and the scores a learn which one that is,

    .. math:: L = \frac1M \sum_m \frac{1}{|V|} \sum_{t \in V}
              \log(1 + \lVert y_{m k^* t} - \hat y_{mt} \rVert / 1\,\mathrm{m})
              + w \frac1M \sum_m -\log \mathrm{softmax}(a_m)_{k^*}.

    Untrained, the modes' paces s go from half to one and a half: equal modes would stay equal. The
    residual is zero then, and the layers before it have next to no gradient: Adam, which takes the
    decay of a weight for one, must not decay them (``decay_mult=0`` in ``paramwise_cfg``).

    Source: V2XPnP regresses waypoints of objects with an L2 loss, in one mode; winner-takes-all
    with scores is MTP's (Cui et al., ICRA 2019). The rest is our choice.

    Args:
        in_channels: C.
        num_classes: classes of the detector.
        point_cloud_range: ``[x_min, y_min, z_min, x_max, y_max, z_max]`` (m) of the map.
        num_steps: F, future positions.
        step: seconds from one position to the next.
        num_modes: K.
        feat_channels: width of the perceptron.
        ahead: offsets from the box's centre along its first axis, metres, that are sampled.
        beside: the same along its second axis.
        sampled_channels: width of what is sampled.
        dropout: of the perceptron in training; a few thousand objects are soon known by heart.
        sampled_dropout: the same for what is sampled.
        position_noise: standard deviation (m) of the noise on boxes in training.
        motion_channels: width of the motions' features; 0 is for a model without velocity head.
        follow_lanes: needs the vector map; what is off its lanes drives straight on.
        map_attention: settings of the :class:`VectorMapAttention` from a box to the polylines
            nearest to it; None looks at no map.
        loss_weight: of ``loss_trajectory``.
        mode_weight: w, of ``loss_trajectory_mode``, which several modes have.

    Raises:
        SettingError: there are no steps or modes.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        point_cloud_range: list[float],
        num_steps: int = 6,
        step: float = 0.5,
        num_modes: int = 1,
        feat_channels: int = 128,
        ahead: tuple[float, ...] = (-6.0, -3.0, 0.0, 3.0, 6.0, 10.0, 15.0, 20.0, 26.0, 32.0),
        beside: tuple[float, ...] = (-6.0, -3.0, 0.0, 3.0, 6.0),
        sampled_channels: int = 8,
        dropout: float = 0.3,
        sampled_dropout: float = 0.5,
        position_noise: float = 0.2,
        motion_channels: int = 0,
        follow_lanes: bool = False,
        map_attention: dict | None = None,
        loss_weight: float = 1.0,
        mode_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if min(num_steps, num_modes) < 1:
            raise SettingError(
                f'expected num_steps and num_modes of at least 1, got {num_steps} and {num_modes}'
            )
        self.num_classes = num_classes
        self.num_steps, self.num_modes = num_steps, num_modes
        self.position_noise, self.follow_lanes = position_noise, follow_lanes
        self.loss_weight, self.mode_weight = loss_weight, mode_weight
        grid = torch.cartesian_prod(torch.tensor(ahead), torch.tensor(beside))
        limits = torch.tensor(point_cloud_range, dtype=torch.float32)
        self.seconds = [step * number for number in range(1, num_steps + 1)]
        paces = torch.linspace(0.5, 1.5, num_modes) if num_modes > 1 else torch.ones(1)
        self.register_buffer('grid', grid, persistent=False)
        self.register_buffer('limits', limits, persistent=False)
        self.register_buffer('paces', paces, persistent=False)
        self.reduce = nn.Conv2d(in_channels, sampled_channels, 1)
        self.sampled_dropout = nn.Dropout(sampled_dropout)
        inputs = len(self.grid) * sampled_channels + _BOX_FEATURES + num_classes
        inputs += motion_channels + 2 * num_steps * num_modes
        self.mlp = nn.Sequential(
            nn.Linear(inputs, feat_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(feat_channels, feat_channels),
            nn.ReLU(inplace=True),
        )
        self.residual = nn.Linear(feat_channels, 2 * num_steps * num_modes)
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)
        self.mode_score = nn.Linear(feat_channels, num_modes) if num_modes > 1 else None
        self.map_attention = (
            VectorMapAttention(feat_channels, **map_attention)
            if map_attention is not None
            else None
        )

    @property
    def needs_map(self) -> bool:
        """Whether it looks at the vector map."""
        return self.follow_lanes or self.map_attention is not None

    def forward(
        self,
        bev: Tensor,
        boxes: list[Tensor],
        labels: list[Tensor],
        motions: list[Motion] | None = None,
        vector_maps: VectorMaps | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Forecast.

        Args:
            bev: (B, C, H, W); H runs along y, W along x.
            boxes: B tensors (M_b, 7) ``(x, y, z_bottom, l, w, h, yaw)``; M_b may be 0.
            labels: B int64 tensors (M_b,).
            motions: of the B samples' boxes; None is for a model without velocity head.
            vector_maps: of the B samples, in the map's frame, for a head that needs them; None is a
                map without lines.

        Returns:
            B tensors (M_b, K, F, 2): positions in the map's frame if the object moves, metres;
            and B tensors (M_b, K), the modes' scores before softmax.
        """
        counts = [len(b) for b in boxes]
        width = max([*counts, 1])

        # A rectangle of samples x boxes.
        def padded(parts: list[Tensor]) -> Tensor:
            missing = (one.new_zeros(width - len(one), *one.shape[1:]) for one in parts)
            return torch.stack([torch.cat(pair) for pair in zip(parts, missing, strict=True)])

        box, label = padded([b[:, :7] for b in boxes]), padded(labels)
        velocity, further = box.new_zeros(*box.shape[:2], 2), []
        acceleration = velocity
        if motions is not None:
            velocity = padded([motion.velocity for motion in motions])
            acceleration = padded([motion.acceleration for motion in motions])
            further = [padded([motion.features for motion in motions])]
        if vector_maps is None:
            nothing = box.new_zeros(len(box), 1, 1, 7)
            vector_maps = VectorMaps(nothing, nothing[..., 0].bool())
        driven = self._drive(box[..., :2], velocity, acceleration, vector_maps)
        speed = velocity.norm(dim=-1, keepdim=True)
        # The cosine and the sine of the angle of the box's axes.
        own, ego = velocity / speed.clamp(min=FAST_ENOUGH), torch.eye(2, device=box.device)[0]
        axes = torch.where(speed >= FAST_ENOUGH, own, ego)
        one_hot = functional.one_hot(label, self.num_classes)
        size = box[..., 3:6].clamp(min=0.1).log()
        # A walk differs from standing as clearly as a drive from a walk.
        moves = [speed / _FAST, speed.log1p(), to_axes(axes, acceleration) / _BRAKES]
        way = to_axes(axes[:, :, None, None], driven - box[:, :, None, None, :2]) / _FAR
        features = self.sampled_dropout(self._sample(self.reduce(bev), box, axes))
        said = [features, size, *moves, one_hot, *further, way.flatten(2)]
        hidden = self.mlp(torch.cat([one.to(features.dtype) for one in said], dim=-1))
        if self.map_attention is not None:
            angle = torch.atan2(axes[..., 1], axes[..., 0])
            hidden = self.map_attention(hidden, box[..., :2], angle, vector_maps)
        steps = self.residual(hidden).unflatten(-1, (self.num_modes, self.num_steps, 2)).float()
        paths = driven + from_axes(axes[:, :, None, None], steps).cumsum(dim=-2)
        if self.mode_score is None:
            scores = paths.new_zeros(paths.shape[:3])
        else:
            scores = self.mode_score(hidden).float()
        return tuple(
            [one[:count] for one, count in zip(found, counts, strict=True)]
            for found in (paths, scores)
        )

    def _drive(
        self, centres: Tensor, velocities: Tensor, accelerations: Tensor, vector_maps: VectorMaps
    ) -> Tensor:
        """(B, M, K, F, 2) where each mode's pace would take the boxes (B, M, 2), metres."""
        speed = velocities.norm(dim=-1).clamp(min=1e-9)
        gain = (accelerations * velocities).sum(dim=-1) / speed
        lanes = centres.new_zeros(len(centres), 0, 4)
        if self.follow_lanes:
            lanes = driving_lanes(*vector_maps)
        paths = drive_along_lanes(
            centres.repeat_interleave(self.num_modes, dim=1),
            (velocities[:, :, None] * self.paces[:, None]).flatten(1, 2),
            lanes,
            self.seconds,
            (gain[:, :, None] * self.paces).flatten(1, 2),
        )
        return paths.unflatten(1, (-1, self.num_modes))

    def _sample(self, bev: Tensor, boxes: Tensor, axes: Tensor) -> Tensor:
        """(B, M, G * C) features of the map on the grid round each of the boxes (B, M, 7)."""
        at = from_axes(axes[:, :, None], self.grid) + boxes[:, :, None, :2]
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
        motions: list[Motion] | None = None,
        vector_maps: VectorMaps | None = None,
    ) -> dict[str, Tensor]:
        """Compare paths from true boxes, moved as a detector might, with the known future.

        Args:
            bev: (B, C, H, W).
            boxes: B tensors (M_b, 7).
            labels: B tensors (M_b,).
            futures: B tensors (M_b, F, 2), metres, in the map's frame.
            valid: B bool tensors (M_b, F); other positions are not looked at and may be NaN.
            motions: see :meth:`forward`.
            vector_maps: see :meth:`forward`.

        Returns:
            ``loss_trajectory`` and, with several modes, ``loss_trajectory_mode``: scalars with a
            graph even when there is no object.
        """
        found = self(bev, [self._disturb(b) for b in boxes], labels, motions, vector_maps)
        paths, scores = map(torch.cat, found)
        mask = torch.cat(valid)
        future = torch.cat(futures).where(mask[..., None], 0)
        # The root's gradient is unbounded at 0.
        error = ((paths - future[:, None]).square().sum(dim=-1) + 1e-6).sqrt() * mask[:, None]
        winner = error.sum(dim=-1).argmin(dim=1)
        best = error.gather(1, winner[:, None, None].expand(-1, 1, self.num_steps))[:, 0]
        mean = best.log1p().sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        known = mask.any(dim=1)
        count = known.sum().clamp(min=1)
        losses = dict(loss_trajectory=self.loss_weight * mean.sum() / count)
        if self.num_modes > 1:
            surprise = functional.cross_entropy(scores, winner, reduction='none') * known
            losses['loss_trajectory_mode'] = self.mode_weight * surprise.sum() / count
        return losses

    def predict(
        self,
        bev: Tensor,
        boxes: list[Tensor],
        labels: list[Tensor],
        motions: list[Motion] | None = None,
        vector_maps: VectorMaps | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Forecast detections.

        Returns:
            For each sample (M_b, K, F, 2) positions in the map's frame, metres, and (M_b, K)
            probabilities.
        """
        found = self(bev, boxes, labels, motions, vector_maps)
        results = [(paths, scores.softmax(dim=-1)) for paths, scores in zip(*found, strict=True)]
        if motions is None:
            return results
        return [
            (paths.where(motion.moving[:, None, None, None], box[:, None, None, :2]), scores)
            for box, motion, (paths, scores) in zip(boxes, motions, results, strict=True)
        ]

    def _disturb(self, boxes: Tensor) -> Tensor:
        noise = self.position_noise * torch.randn_like(boxes[:, :2])
        return torch.cat([boxes[:, :2] + noise, boxes[:, 2:]], dim=1)
