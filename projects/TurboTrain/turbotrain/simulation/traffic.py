"""Traffic of one site: demand, a SUMO run, and the states of all road users at 10 Hz."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from .road_users import PEDESTRIANS, VEHICLES, RoadUser, UserKind, sample_user
from .site_layout import SiteLayout
from .sumo_programs import run_sumo_program

__all__ = ['FRAME_SECONDS', 'Tracks', 'simulate_traffic']

FRAME_SECONDS = 0.1
WARM_UP = 45.0  # seconds before the first recorded frame: the site fills with traffic
VEHICLE_HEADWAY = 5.4  # mean seconds between two departures on one arm
PEDESTRIAN_HEADWAY = 5.5  # mean seconds between two pedestrians of the whole site
YAW_WINDOW = 5  # frames of the moving average that smooths headings


@dataclass(frozen=True)
class Tracks:
    """States of road users over recorded frames, in the site frame.

    Attributes:
        users: U road users.
        centre: (U, T, 2) box centres, metres; NaN where absent.
        yaw: (U, T) headings, rad, counter-clockwise from +x, without jumps; NaN where absent.
        present: (U, T) bool.
    """

    users: list[RoadUser]
    centre: np.ndarray
    yaw: np.ndarray
    present: np.ndarray

    def window(self, start: int, frames: int) -> 'Tracks':
        """Cut ``frames`` frames from ``start``; users that never show up in them are dropped."""
        part = slice(start, start + frames)
        keep = np.flatnonzero(self.present[:, part].any(1))
        return Tracks(
            [self.users[i] for i in keep],
            self.centre[keep, part], self.yaw[keep, part], self.present[keep, part],
        )

    def joined(self, other: 'Tracks') -> 'Tracks':
        """These users followed by those of ``other``, over the same frames."""
        return Tracks(
            [*self.users, *other.users],
            *(np.concatenate([getattr(self, name), getattr(other, name)])
              for name in ('centre', 'yaw', 'present')),
        )


def simulate_traffic(
    layout: SiteLayout, network: Path, seconds: float, rng: np.random.Generator
) -> Tracks:
    """Let traffic run through a site.

    Args:
        layout: the site.
        network: its SUMO network; routes, the run's output and the network share a folder.
        seconds: how long to record, after the warm-up.
        rng: source of the demand and of SUMO's seed.

    Returns:
        Every road user that was on the site while recording.
    """
    end = WARM_UP + seconds
    routes, output = network.with_name('site.rou.xml'), network.with_name('site.fcd.xml')
    users = _write_demand(layout, routes, end, rng)
    run_sumo_program('sumo', [
        '--net-file', str(network), '--route-files', str(routes),
        '--begin', '0', '--end', f'{end:.1f}', '--step-length', str(FRAME_SECONDS),
        '--seed', str(int(rng.integers(1 << 30))), '--precision', '4',
        '--fcd-output', str(output), '--device.fcd.begin', f'{WARM_UP:.1f}',
        '--lanechange.duration', '2.5', '--time-to-teleport', '-1',
        '--no-step-log', 'true', '--no-warnings', 'true', '--duration-log.disable', 'true',
    ])
    return _read_tracks(output, users, int(round(seconds / FRAME_SECONDS)))


def _departures(headway: float, end: float, rng: np.random.Generator) -> np.ndarray:
    """Times (K,) s of a shifted Poisson process with a mean distance of ``headway``."""
    gaps = 0.4 * headway + rng.exponential(0.6 * headway, int(3 * end / headway) + 10)
    times = np.cumsum(gaps)
    return times[times < end]


def _write_demand(
    layout: SiteLayout, path: Path, end: float, rng: np.random.Generator
) -> dict[str, RoadUser]:
    """Write SUMO's route file, sorted by departure, and return the users by name."""
    users: dict[str, RoadUser] = {}
    arms = len(layout.arms)
    plans: list[tuple[float, ElementTree.Element, ElementTree.Element | None]] = []
    for k in range(arms):
        per_lane = VEHICLE_HEADWAY / min(layout.arms[k].lanes_in, 2) ** 0.6
        for i, depart in enumerate(_departures(per_lane, end, rng)):
            user, kind = sample_user(VEHICLES, f'v{k}_{i}', rng)
            users[user.name] = user
            target = int((k + rng.integers(1, arms)) % arms)
            trip = ElementTree.Element('trip', {
                'id': user.name, 'type': user.name, 'depart': f'{depart:.2f}',
                'from': f'in{k}', 'to': f'out{target}', 'departLane': 'best',
                'departSpeed': 'max',
            })
            plans.append((float(depart), _vehicle_type(user, kind, rng), trip))
    for i, depart in enumerate(_departures(PEDESTRIAN_HEADWAY, end, rng)):
        user, kind = sample_user(PEDESTRIANS, f'p{i}', rng)
        users[user.name] = user
        plans.append((float(depart), _pedestrian_type(user, kind, rng),
                      _walk(layout, user.name, float(depart), rng)))
    root = ElementTree.Element('routes')
    for _, kind_element, plan in sorted(plans, key=lambda item: item[0]):
        root.append(kind_element)
        root.append(plan)
    ElementTree.ElementTree(root).write(path)
    return users


def _vehicle_type(
    user: RoadUser, kind: UserKind, rng: np.random.Generator
) -> ElementTree.Element:
    return ElementTree.Element('vType', {
        'id': user.name, 'vClass': kind.sumo_class,
        'length': f'{user.size[0]:.2f}', 'width': f'{user.size[1]:.2f}',
        'maxSpeed': f'{kind.max_speed:.2f}', 'accel': f'{kind.acceleration:.2f}',
        'decel': '4.0', 'minGap': f'{rng.uniform(1.6, 2.8):.2f}',
        'speedFactor': f'{rng.uniform(0.8, 1.15):.3f}', 'sigma': '0.4',
        # Lane changes for a turn only: others sweep long vehicles through their neighbours.
        'lcKeepRight': '0', 'lcSpeedGain': '0',
    })


def _pedestrian_type(
    user: RoadUser, kind: UserKind, rng: np.random.Generator
) -> ElementTree.Element:
    return ElementTree.Element('vType', {
        'id': user.name, 'vClass': 'pedestrian',
        'length': f'{user.size[0]:.2f}', 'width': f'{user.size[1]:.2f}',
        'maxSpeed': f'{kind.max_speed * rng.uniform(0.75, 1.1):.2f}', 'speedDev': '0',
    })


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

    person = ElementTree.Element('person', {
        'id': name, 'type': name, 'depart': f'{depart:.2f}', 'departPos': position(origin),
    })
    ElementTree.SubElement(person, 'walk', {
        'from': origin, 'to': target, 'arrivalPos': position(target),
    })
    return person


def _read_tracks(path: Path, users: dict[str, RoadUser], frames: int) -> Tracks:
    """Read SUMO's floating-car data: front-bumper positions and compass angles in degrees."""
    states: dict[str, list[tuple[int, float, float, float]]] = {}
    frame = -1
    for event, element in ElementTree.iterparse(path, events=('start', 'end')):
        if element.tag == 'timestep':
            if event == 'start':
                frame += 1
            else:
                element.clear()
        elif event == 'end' and element.tag in ('vehicle', 'person') and frame < frames:
            values = (float(element.get(key, 'nan')) for key in ('x', 'y', 'angle'))
            states.setdefault(element.get('id', ''), []).append((frame, *values))
    names = sorted(states)
    centre = np.full((len(names), frames, 2), np.nan)
    yaw = np.full((len(names), frames), np.nan)
    for row, name in enumerate(names):
        table = np.array(states[name])
        at = table[:, 0].astype(int)
        heading = np.unwrap(np.deg2rad(90.0 - table[:, 3]))
        half = users[name].size[0] / 2
        centre[row, at] = table[:, 1:3] - half * np.stack([np.cos(heading), np.sin(heading)], -1)
        yaw[row, at] = _smooth(heading, YAW_WINDOW)
    return Tracks([users[name] for name in names], centre, yaw, ~np.isnan(yaw))


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving average of values (T,) over up to ``window`` frames, same length."""
    padded = np.pad(values, window // 2, mode='edge')
    return np.convolve(padded, np.full(window, 1.0 / window), mode='valid')
