"""What a place looks like before any road is built: its arms, lanes and widths.

Site frame: metres, x east, y north, z up, the junction's centre at the origin and the ground at
z = 0. The world frame is the site frame moved by the site's offset.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ['Arm', 'SiteKind', 'SiteLayout', 'sample_layout']

SiteKind = Literal['four_way', 'tee', 'corridor']

LANE_WIDTH = 3.3
PARKING_WIDTH = 2.4
SIDEWALK_WIDTH = 2.6


@dataclass(frozen=True)
class Arm:
    """A road that leaves the junction; traffic keeps to the right of its axis.

    Attributes:
        heading: direction of the axis at the junction, rad, counter-clockwise from +x.
        curvature: change of the heading per metre of the axis, rad/m.
        length: length of the axis, m.
        lanes_in: driving lanes towards the junction.
        lanes_out: driving lanes away from it.
    """

    heading: float
    curvature: float
    length: float
    lanes_in: int
    lanes_out: int

    def heading_at(self, along: np.ndarray) -> np.ndarray:
        """Heading of the axis (...,) rad at distances ``along`` (...,) m from the junction."""
        return self.heading + self.curvature * np.asarray(along, dtype=np.float64)

    def axis(self, along: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the axis at distances ``along`` (...,) m from the junction."""
        along = np.asarray(along, dtype=np.float64)
        middle = self.heading + self.curvature * along / 2
        chord = along * np.sinc(self.curvature * along / (2 * np.pi))
        return np.stack([chord * np.cos(middle), chord * np.sin(middle)], -1)

    def point(self, along: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Points (..., 2) at ``along`` m from the junction, ``left`` m to the axis's left."""
        heading = self.heading_at(along)
        normal = np.stack([-np.sin(heading), np.cos(heading)], -1)
        return self.axis(along) + np.asarray(left, dtype=np.float64)[..., None] * normal

    def half_width(self, side: int) -> float:
        """Distance from the axis to the sidewalk's outer edge, m; ``side`` +1 left, -1 right."""
        return self.kerb(side) + SIDEWALK_WIDTH

    def kerb(self, side: int) -> float:
        """Distance from the axis to the kerb, m; ``side`` +1 left (inbound), -1 right."""
        lanes = self.lanes_in if side > 0 else self.lanes_out
        return lanes * LANE_WIDTH + PARKING_WIDTH


@dataclass(frozen=True)
class SiteLayout:
    """A place with one junction (or, in a corridor, a join of two arms) at its origin.

    Attributes:
        kind: which kind of place.
        arms: in counter-clockwise order.
        speed: speed limit, m/s.
        signalled: whether traffic lights rule the junction.
    """

    kind: SiteKind
    arms: tuple[Arm, ...]
    speed: float
    signalled: bool


def sample_layout(kind: SiteKind, rng: np.random.Generator) -> SiteLayout:
    """Draw a place of a kind: arm angles, lengths, bends, lane counts and speed limit vary."""
    if kind == 'corridor':
        lanes = int(rng.integers(1, 3))
        start = rng.uniform(-np.pi, np.pi)
        headings = [start, start + np.pi + rng.uniform(-0.04, 0.04)]
        lengths = rng.uniform(230.0, 270.0, 2)
        curvatures = rng.uniform(-0.0015, 0.0015, 2)
        lane_counts = [(lanes, lanes)] * 2
    else:
        base = rng.uniform(-np.pi / 4, np.pi / 4)
        corners = np.arange(4 if kind == 'four_way' else 3) * np.pi / 2
        headings = list(base + corners + rng.uniform(-0.16, 0.16, len(corners)))
        lengths = rng.uniform(115.0, 150.0, len(corners))
        curvatures = rng.uniform(-0.0012, 0.0012, len(corners))
        lane_counts = [(int(rng.integers(1, 4)), int(rng.integers(1, 3))) for _ in corners]
    arms = tuple(
        Arm(float(heading), float(bend), float(length), *counts)
        for heading, bend, length, counts in zip(
            headings, curvatures, lengths, lane_counts, strict=True
        )
    )
    speed = float(rng.uniform(9.0, 12.5))
    return SiteLayout(kind, arms, speed, signalled=kind != 'corridor')
