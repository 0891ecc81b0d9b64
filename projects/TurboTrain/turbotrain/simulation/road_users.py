"""The kinds of road users that are simulated: class names, sizes and how often they occur."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ['PARKED', 'PEDESTRIANS', 'VEHICLES', 'RoadUser', 'UserKind', 'sample_user']

Shape = Literal['car', 'van', 'truck', 'bus', 'rider', 'person']


@dataclass(frozen=True)
class UserKind:
    """A kind of road user.

    Attributes:
        obj_type: raw class name of the data format, spelt as the data set spells it.
        shape: which mesh it has.
        size: mean length, width, height, metres.
        spread: sizes are drawn within +-spread of the mean, relative.
        share: relative frequency within its list.
        sumo_class: SUMO's vehicle class; empty for pedestrians.
        max_speed: m/s.
        acceleration: m/s^2.
    """

    obj_type: str
    shape: Shape
    size: tuple[float, float, float]
    spread: float
    share: float
    sumo_class: str = 'passenger'
    max_speed: float = 15.0
    acceleration: float = 2.6


@dataclass(frozen=True)
class RoadUser:
    """One road user.

    Attributes:
        name: unique within a scenario.
        obj_type: raw class name of the data format.
        shape: which mesh it has.
        size: length, width, height, metres.
        reflectivity: of its paint or clothes, 0 to 1.
    """

    name: str
    obj_type: str
    shape: Shape
    size: tuple[float, float, float]
    reflectivity: float


VEHICLES = (
    UserKind('Car', 'car', (4.6, 1.85, 1.55), 0.08, 0.62),
    UserKind('PoliceCar', 'car', (4.9, 1.95, 1.6), 0.02, 0.03),
    UserKind('Van', 'van', (5.4, 2.05, 2.3), 0.08, 0.10),
    UserKind('Truck', 'truck', (7.6, 2.45, 3.2), 0.10, 0.07, 'truck', 12.0, 1.3),
    UserKind('LongVehicle', 'truck', (11.0, 2.5, 3.6), 0.08, 0.02, 'truck', 11.0, 1.1),
    UserKind('Bus', 'bus', (11.0, 2.5, 3.1), 0.05, 0.05, 'bus', 11.0, 1.2),
    UserKind('MotorcyleRider', 'rider', (2.1, 0.85, 1.65), 0.05, 0.05, 'motorcycle', 15.0, 3.5),
    UserKind('BicycleRider', 'rider', (1.8, 0.65, 1.75), 0.05, 0.04, 'bicycle', 5.5, 1.0),
    UserKind('ScooterRider', 'rider', (1.3, 0.6, 1.75), 0.05, 0.02, 'moped', 6.5, 1.2),
)

PARKED = (
    UserKind('Car', 'car', (4.6, 1.85, 1.55), 0.08, 0.66),
    UserKind('Van', 'van', (5.4, 2.0, 2.3), 0.08, 0.22),
    UserKind('Truck', 'truck', (7.0, 2.2, 3.0), 0.06, 0.12),
)

PEDESTRIANS = (
    UserKind('Pedestrian', 'person', (0.65, 0.6, 1.75), 0.08, 0.84, '', 1.4),
    UserKind('Child', 'person', (0.5, 0.45, 1.25), 0.10, 0.09, '', 1.2),
    UserKind('RoadWorker', 'person', (0.7, 0.7, 1.85), 0.04, 0.07, '', 1.1),
)


def sample_user(
    kinds: tuple[UserKind, ...], name: str, rng: np.random.Generator
) -> tuple[RoadUser, UserKind]:
    """Draw a road user of one of ``kinds`` by their shares, with a size and a reflectivity."""
    shares = np.array([kind.share for kind in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    scale = 1.0 + kind.spread * rng.uniform(-1.0, 1.0, 3)
    length, width, height = np.round(np.array(kind.size) * scale, 2).tolist()
    reflectivity = float(rng.uniform(0.12, 0.7))
    return RoadUser(name, kind.obj_type, kind.shape, (length, width, height), reflectivity), kind
