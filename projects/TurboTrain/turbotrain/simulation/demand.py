"""Who wants to cross a site, when and from where to where: SUMO's route file."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from .road_users import PEDESTRIANS, VEHICLES, RoadUser, UserKind, sample_user
from .site_layout import SiteLayout

__all__ = ['write_demand']

VEHICLE_HEADWAY = 5.4  # mean seconds between two departures on one arm
PEDESTRIAN_HEADWAY = 5.5  # mean seconds between two pedestrians of the whole site


def write_demand(
    layout: SiteLayout, path: Path, end: float, rng: np.random.Generator
) -> dict[str, RoadUser]:
    """Write who goes where and when as SUMO's route file.

    Vehicles enter on every arm and leave on another; people walk between sidewalks near the
    junction.

    Args:
        layout: the site, whose arms are the edges ``in<k>`` and ``out<k>``.
        path: file to write.
        end: last departure, s.
        rng: source of all that is random.

    Returns:
        All road users by name.
    """
    users: dict[str, RoadUser] = {}
    arms = len(layout.arms)
    plans: list[tuple[float, ElementTree.Element, ElementTree.Element]] = []
    for k in range(arms):
        # Two lanes carry half as much again as one; more are turning pockets.
        headway = VEHICLE_HEADWAY / min(layout.arms[k].lanes_in, 2) ** 0.6
        for i, depart in enumerate(_departures(headway, end, rng)):
            user, kind = sample_user(VEHICLES, f'v{k}_{i}', rng)
            users[user.name] = user
            target = int((k + rng.integers(1, arms)) % arms)
            trip = ElementTree.Element(
                'trip',
                {'from': f'in{k}', 'to': f'out{target}'},
                id=user.name,
                type=user.name,
                depart=f'{depart:.2f}',
                departLane='best',
                departSpeed='max',
            )
            plans.append((float(depart), _vehicle_type(user, kind, rng), trip))
    for i, depart in enumerate(_departures(PEDESTRIAN_HEADWAY, end, rng)):
        user, kind = sample_user(PEDESTRIANS, f'p{i}', rng)
        users[user.name] = user
        walk = _walk(layout, user.name, float(depart), rng)
        plans.append((float(depart), _pedestrian_type(user, kind, rng), walk))
    root = ElementTree.Element('routes')
    for _, kind_element, plan in sorted(plans, key=lambda item: item[0]):
        root.append(kind_element)
        root.append(plan)
    ElementTree.ElementTree(root).write(path)
    return users


def _departures(headway: float, end: float, rng: np.random.Generator) -> np.ndarray:
    """Times (K,) s of a shifted Poisson process with a mean distance of ``headway``."""
    gaps = 0.4 * headway + rng.exponential(0.6 * headway, int(3 * end / headway) + 10)
    times = np.cumsum(gaps)
    return times[times < end]


def _vehicle_type(user: RoadUser, kind: UserKind, rng: np.random.Generator) -> ElementTree.Element:
    return ElementTree.Element(
        'vType',
        id=user.name,
        vClass=kind.sumo_class,
        length=f'{user.size[0]:.2f}',
        width=f'{user.size[1]:.2f}',
        maxSpeed=f'{kind.max_speed:.2f}',
        accel=f'{kind.acceleration:.2f}',
        decel='4.0',
        minGap=f'{rng.uniform(1.6, 2.8):.2f}',
        speedFactor=f'{rng.uniform(0.8, 1.15):.3f}',
        sigma='0.4',
        # Lane changes for a turn only: others sweep long vehicles through their neighbours.
        lcKeepRight='0',
        lcSpeedGain='0',
    )


def _pedestrian_type(
    user: RoadUser, kind: UserKind, rng: np.random.Generator
) -> ElementTree.Element:
    return ElementTree.Element(
        'vType',
        id=user.name,
        vClass='pedestrian',
        length=f'{user.size[0]:.2f}',
        width=f'{user.size[1]:.2f}',
        maxSpeed=f'{kind.max_speed * rng.uniform(0.75, 1.1):.2f}',
        speedDev='0',
    )


def _walk(
    layout: SiteLayout, name: str, depart: float, rng: np.random.Generator
) -> ElementTree.Element:
    """A walk between the sidewalks of two arms (in a corridor, along one) near the junction."""
    arms = len(layout.arms)
    start, stop = (int(value) for value in rng.permutation(arms)[:2])
    reach = (10.0, 40.0) if layout.signalled else (20.0, 110.0)
    origin = f'{rng.choice(["in", "out"])}{start}'
    if layout.signalled:
        target = f'{rng.choice(["in", "out"])}{stop}'
    else:
        target = f'out{stop}' if origin.startswith('in') else f'in{stop}'

    def position(edge: str) -> str:
        distance = rng.uniform(*reach)
        return f'{-distance if edge.startswith("in") else distance:.2f}'

    person = ElementTree.Element(
        'person', id=name, type=name, depart=f'{depart:.2f}', departPos=position(origin)
    )
    walk = {'from': origin, 'to': target, 'arrivalPos': position(target)}
    ElementTree.SubElement(person, 'walk', walk)
    return person
