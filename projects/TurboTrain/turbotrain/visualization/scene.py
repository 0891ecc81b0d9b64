"""What a picture from above shows: plain arrays in the ego's frame, from whatever model."""

from dataclasses import dataclass, field, fields

import numpy as np

from ..structures import INFRASTRUCTURE, VEHICLE

__all__ = ['AgentView', 'BEVScene']


def _empty(*shape: int) -> np.ndarray:
    """A field's default: no rows."""
    return field(default_factory=lambda: np.zeros(shape, dtype=np.float32))


@dataclass(frozen=True)
class AgentView:
    """One agent and what its LiDAR sees.

    Attributes:
        name: how pictures call it, e.g. ``'ego'``; its colour goes by it.
        kind: ``structures.VEHICLE`` or ``structures.INFRASTRUCTURE``.
        ego_from_agent: (4, 4), where it stands in the ego's frame.
        points: (P, 3+) its cloud **in the ego's frame**, metres; columns after z are ignored, and
            so are rows that aren't finite.
    """

    name: str
    kind: int
    ego_from_agent: np.ndarray
    points: np.ndarray = _empty(0, 3)

    def __post_init__(self) -> None:
        """Check the shapes."""
        if self.kind not in (VEHICLE, INFRASTRUCTURE):
            raise ValueError(
                f'agent {self.name!r}: kind is {self.kind!r}, expected structures.VEHICLE or '
                'structures.INFRASTRUCTURE'
            )
        if np.shape(self.ego_from_agent) != (4, 4):
            raise ValueError(
                f'agent {self.name!r}: ego_from_agent has shape {np.shape(self.ego_from_agent)}, '
                'expected (4, 4)'
            )
        if self.points.ndim != 2 or self.points.shape[1] < 3:
            raise ValueError(
                f'agent {self.name!r}: points have shape {self.points.shape}, expected (P, 3+)'
            )


@dataclass(frozen=True)
class BEVScene:
    """One sample, its ground truth and its predictions; all of it in the ego's frame, metres.

    Every field but the title and the agents may be left out. Rows of the ground truth belong
    together, and so do rows of the predictions.

    Attributes:
        title: plain facts, e.g. scenario and frame.
        agents: who takes part, the ego first.
        gt_boxes: (M, 5) ``(x, y, l, w, yaw)``, as ``LiDARInstance3DBoxes.bev``.
        gt_pasts: (M, T, 2) where objects have been, oldest first; NaN where that isn't known.
        gt_futures: (M, F, 2) where they will be; NaN where that isn't known.
        pred_boxes: (P, 5) predicted boxes.
        pred_scores: (P,) their scores in [0, 1]: the picture's opacity.
        pred_velocities: (P, 2) how they move, m/s; the arrow is as long as the way of one second.
        pred_futures: (P, K, F, 2) their forecasts in K modes.
        pred_mode_scores: (P, K) how likely the modes are; the likeliest is drawn strongest.
        missed: (M,) bool, which objects nobody detected.
        false_alarms: (P,) bool, which detections are of nothing.
        polylines: (L, 10, 7) ``(x, y, z, dx, dy, dz, type)`` of the vector map; types are 1 driving
            lane, 2 sidewalk, 3 shoulder, 4 parking, 5 boundary of a driving lane.
        polyline_mask: (L, 10), non-zero where there is a point.
    """

    title: str
    agents: tuple[AgentView, ...]
    gt_boxes: np.ndarray = _empty(0, 5)
    gt_pasts: np.ndarray | None = None
    gt_futures: np.ndarray | None = None
    pred_boxes: np.ndarray = _empty(0, 5)
    pred_scores: np.ndarray = _empty(0)
    pred_velocities: np.ndarray | None = None
    pred_futures: np.ndarray | None = None
    pred_mode_scores: np.ndarray | None = None
    missed: np.ndarray | None = None
    false_alarms: np.ndarray | None = None
    polylines: np.ndarray = _empty(0, 10, 7)
    polyline_mask: np.ndarray = _empty(0, 10)

    def __post_init__(self) -> None:
        """Check the shapes against each other."""
        m, p = len(self.gt_boxes), len(self.pred_boxes)
        modes = None if self.pred_futures is None else np.shape(self.pred_futures)[1:2]
        expected: dict[str, tuple[int | None, ...]] = {
            'gt_boxes': (m, 5),
            'gt_pasts': (m, None, 2),
            'gt_futures': (m, None, 2),
            'pred_boxes': (p, 5),
            'pred_scores': (p,),
            'pred_velocities': (p, 2),
            'pred_futures': (p, None, None, 2),
            'pred_mode_scores': (p, *(modes or (None,))),
            'missed': (m,),
            'false_alarms': (p,),
            'polylines': (len(self.polylines), None, 7),
            'polyline_mask': self.polylines.shape[:2],
        }
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name not in expected or value is None:
                continue
            shape, found = expected[item.name], np.shape(value)
            if len(shape) != len(found) or any(
                want not in (None, got) for want, got in zip(shape, found, strict=True)
            ):
                wanted = tuple('any' if n is None else n for n in shape)
                raise ValueError(
                    f'scene {self.title!r}: {item.name} has shape {found}, expected {wanted}'
                )
