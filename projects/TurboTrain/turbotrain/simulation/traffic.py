"""Traffic of one site: a SUMO run, and the states of all road users at 10 Hz."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from .demand import write_demand
from .road_users import RoadUser
from .site_layout import SiteLayout
from .sumo_programs import run_sumo_program

__all__ = ['FRAME_SECONDS', 'Tracks', 'simulate_traffic']

FRAME_SECONDS = 0.1
WARM_UP = 45.0  # seconds before the first recorded frame: the site fills with traffic
YAW_WINDOW = 5  # frames of the moving average that smooths headings
PERSON_WINDOW = 15  # the same for people's positions and headings: SUMO moves them in stripes
MAX_STEP = 2.2  # metres in 0.1 s; who moves farther is left out


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
            self.centre[keep, part],
            self.yaw[keep, part],
            self.present[keep, part],
        )

    def joined(self, other: 'Tracks') -> 'Tracks':
        """These users followed by those of ``other``, over the same frames."""
        return Tracks(
            [*self.users, *other.users],
            *(
                np.concatenate([getattr(self, name), getattr(other, name)])
                for name in ('centre', 'yaw', 'present')
            ),
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
    users = write_demand(layout, routes, end, rng)
    run_sumo_program(
        'sumo',
        {
            'net-file': network,
            'route-files': routes,
            'begin': 0,
            'end': round(end, 1),
            'step-length': FRAME_SECONDS,
            'seed': int(rng.integers(1 << 30)),
            'precision': 4,
            'fcd-output': output,
            'device.fcd.begin': WARM_UP,
            'lanechange.duration': 2.5,
            'time-to-teleport': -1,
            'no-step-log': True,
            'no-warnings': True,
            'duration-log.disable': True,
        },
    )
    return _read_tracks(output, users, int(round(seconds / FRAME_SECONDS)))


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
    tables = {name: np.array(rows) for name, rows in states.items()}
    names = sorted(name for name, table in tables.items() if not _leaps(table[:, 1:3]))
    centre = np.full((len(names), frames, 2), np.nan)
    yaw = np.full((len(names), frames), np.nan)
    for row, name in enumerate(names):
        at = tables[name][:, 0].astype(int)
        centre[row, at], yaw[row, at] = _to_boxes(tables[name][:, 1:], users[name])
    return Tracks([users[name] for name in names], centre, yaw, ~np.isnan(yaw))


def _to_boxes(states: np.ndarray, user: RoadUser) -> tuple[np.ndarray, np.ndarray]:
    """Turn SUMO's states of consecutive frames into box centres and smooth headings.

    Args:
        states: (K, 3) x and y of the front (m), compass angle (degrees, clockwise from north).
        user: whose states they are.

    Returns:
        Centres (K, 2) m, headings (K,) rad without jumps.
    """
    heading = np.unwrap(np.deg2rad(90.0 - states[:, 2]))
    forward = np.stack([np.cos(heading), np.sin(heading)], -1)
    centre = states[:, :2] - user.size[0] / 2 * forward
    if user.shape == 'person':
        centre = np.stack([_smooth(values, PERSON_WINDOW) for values in centre.T], -1)
        heading = _smooth(heading, PERSON_WINDOW)
    return centre, _smooth(heading, YAW_WINDOW)


def _leaps(path: np.ndarray) -> bool:
    """Whether a path (K, 2) jumps, as SUMO's pedestrians now and then do at a corner."""
    return bool((np.linalg.norm(np.diff(path, axis=0), axis=1) > MAX_STEP).any())


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving average of values (T,) over up to ``window`` frames, same length."""
    padded = np.pad(values, window // 2, mode='reflect', reflect_type='odd')
    return np.convolve(padded, np.full(window, 1.0 / window), mode='valid')
